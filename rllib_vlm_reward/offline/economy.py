"""What a recorded step pays where not each step is scored alone."""

from statistics import fmean

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
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
    last = np.zeros(len(scores), np.bool_)
    last[-1:] = ends
    if config.scored_steps == "last":
        scored = last
    elif isinstance(config.scored_steps, int):
        scored = last | ((first + np.arange(len(scores))) % config.scored_steps == 0)
    else:
        scored = np.ones(len(scores), np.bool_)
    judged = np.zeros(len(scores), np.float32)
    own = scores[scored].tolist()
    windows = [own[max(0, end - config.window) : end] for end in range(1, len(own) + 1)]
    judged[scored] = [fmean(w) if config.window_reduce == "mean" else max(w) for w in windows]
    paid = pay(judged, config.threshold)
    paid[~scored] = 0.0
    return paid
