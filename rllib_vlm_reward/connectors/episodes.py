"""Episodes of one agent or of several, seen alike."""

from collections.abc import Iterator, Sequence

from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

__all__ = ["Episodes", "flat", "separate_infos"]

Episodes = Sequence[SingleAgentEpisode] | Sequence[MultiAgentEpisode]


def flat(episodes: Episodes) -> Iterator[SingleAgentEpisode]:
    """Yield the episode of every agent."""
    for episode in episodes:
        if isinstance(episode, SingleAgentEpisode):
            yield episode
        else:
            yield from episode.agent_episodes.values()


def separate_infos(episodes: Episodes) -> None:
    """Give each last step a copy of its info, to write into and to drop its frame from.

    An env may hand out one dict again and again. So does MultiAgentEpisode of RLlib 2.60: to an
    agent that ends without an observation it gives the info and the observation of before.
    """
    for episode in flat(episodes):
        if episode.infos.data:
            episode.infos.data[-1] = dict(episode.infos.data[-1])
