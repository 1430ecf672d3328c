"""Lets DQN and SAC learn from what an episode reached by chance.

* :mod:`hindsight`: replay buffers that add copies of episodes for other goals;
* :mod:`buffer_callbacks`: gives such a buffer the goals' embeddings, and reports its metrics.
"""

from rllib_vlm_reward.replay.buffer_callbacks import HindsightCallbacks
from rllib_vlm_reward.replay.hindsight import (
    HindsightEpisodeReplayBuffer,
    HindsightPrioritizedEpisodeReplayBuffer,
    with_hindsight,
)

__all__ = [
    "HindsightCallbacks",
    "HindsightEpisodeReplayBuffer",
    "HindsightPrioritizedEpisodeReplayBuffer",
    "with_hindsight",
]
