"""Functions that treat single-agent and multi-agent episodes alike."""

from collections.abc import Iterator, Sequence

from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

__all__ = ["Episodes", "flat", "separate_infos"]

Episodes = Sequence[SingleAgentEpisode] | Sequence[MultiAgentEpisode]


def flat(episodes: Episodes) -> Iterator[SingleAgentEpisode]:
    """Yield the single-agent episodes, those of every agent in a multi-agent episode."""
    for episode in episodes:
        if isinstance(episode, SingleAgentEpisode):
            yield episode
        else:
            yield from episode.agent_episodes.values()


def separate_infos(episodes: Episodes) -> None:
    """Replace the info of each episode's last step by a copy, which the connectors may change.

    An env may return the same dictionary in every step. MultiAgentEpisode of RLlib 2.60 also reuses
    one: an agent that ends without an observation gets its previous observation and info again.
    """
    for episode in flat(episodes):
        if episode.infos.data:
            episode.infos.data[-1] = dict(episode.infos.data[-1])
