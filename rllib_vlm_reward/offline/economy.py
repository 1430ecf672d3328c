"""What a recorded step pays where not each step is scored alone."""

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.economy import is_scored, reduce_window
from rllib_vlm_reward.reward_model.scorer import Scores, pay

__all__ = ["pay_steps"]


def pay_steps(scores: Scores, config: VLMRewardConfig, *, first: int, ends: bool) -> Scores:
    """Pay the steps of an episode as :class:`.connectors.VLMReward` would have.

    ``changed`` pays what ``all`` does: the frame before has the same score.

    Args:
        scores: float32 ``[N]``, of the frames after each of its N steps.
        config: ``scored_steps``, ``window``, ``window_reduce`` and ``threshold``.
        first: the first step's t in its episode, from 1.
        ends: whether the last step ends the episode.

    Returns:
        float32 ``[N]``.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="small", goals=["a ball", "a key"], scored_steps=2, window=2
        ... )
        >>> scores = np.array([1.0, 0.25, 1.0, 0.75, 0.25], np.float32)
        >>> pay_steps(scores, config, first=1, ends=True)
        array([0.  , 0.25, 0.  , 0.5 , 0.5 ], dtype=float32)
    """
    end = first + len(scores) - 1
    scored = np.array(
        [is_scored(config.scored_steps, t, ends=ends and t == end) for t in range(first, end + 1)],
        np.bool_,
    )
    judged = np.zeros(len(scores), np.float32)
    own = scores[scored].tolist()
    judged[scored] = [
        reduce_window(own[max(0, stop - config.window) : stop], config.window_reduce)
        for stop in range(1, len(own) + 1)
    ]
    paid = pay(judged, config.threshold)
    paid[~scored] = 0.0
    return paid
