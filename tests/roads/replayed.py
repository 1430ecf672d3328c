"""Sees what lies in a replay buffer, and what is drawn from it."""

import dataclasses

import numpy as np
from ray.rllib.connectors.connector_v2 import ConnectorV2
from recount import Chunk


@dataclasses.dataclass
class Draw:
    """One drawn transition over n steps."""

    start: tuple  # (agent, env, episode, t)
    n: int
    reward: float


class Draws(ConnectorV2):
    """A learner connector that keeps what was drawn for the learner, which must be local."""

    drawn = []  # noqa: RUF012

    def __call__(self, *, rl_module, batch, episodes, **kwargs):
        every = self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False)
        for episode in every:
            first, last = np.array(episode.get_observations())
            (reward,) = episode.get_rewards()
            self.drawn.append(Draw(_step(first), int(last[-3] - first[-3]), float(reward)))
        return batch


def draws(observation_space, action_space):
    """Be a ``learner_connector``."""
    return Draws(observation_space, action_space)


def stored(buffer):
    """Return all that a buffer holds, one chunk an agent's episode."""
    episodes = ConnectorV2.single_agent_episode_iterator(
        list(buffer.episodes), agents_that_stepped_only=False
    )
    return [Chunk.of(episode, lengthened=False) for episode in episodes]


def expected_draws(drawn, chunks, rewards, gamma):
    """Return what each draw should pay: its steps' rewards, discounted.

    Args:
        drawn: the draws.
        chunks: what the buffer holds.
        rewards: what each of the chunks' steps should pay.
        gamma: discount factor.
    """
    known = {}
    for chunk, own in zip(chunks, rewards, strict=True):
        observations = np.vstack([chunk.extra.T, chunk.columns]).T
        known |= dict(zip(map(_step, observations), own, strict=False))
    expected = []
    for draw in drawn:
        *where, t = draw.start
        expected.append(sum(gamma**k * known[(*where, t + k)] for k in range(draw.n)))
    return expected


def _step(observation):
    return tuple(observation[:-2].astype(int).tolist())
