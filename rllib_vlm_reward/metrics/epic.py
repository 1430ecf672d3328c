"""The distance between two rewards."""

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.metrics.checks import check_arrays

__all__ = ["epic_distance"]


def epic_distance(
    rewards: npt.NDArray[np.number], truth: npt.NDArray[np.number] | npt.NDArray[np.bool_]
) -> float:
    """Return √((1 - ρ) / 2), with Pearson's correlation ρ, in [0, 1].

    This is the EPIC distance (Gleave et al., arXiv 2006.13900) of rewards that depend on the state
    only, as vlmrm computes it against binary labels (arXiv 2310.12921, section 4). 0 means that
    the rewards are equal up to scale and shift, √½ that they are uncorrelated, 1 that they are
    opposite. The result is NaN if either is constant.

    Args:
        rewards: ``[N]``, the rewards of N states.
        truth: ``[N]``, the labels or another reward of the same states.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`.

    Example:
        >>> round(epic_distance(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0])), 3)
        0.057
    """
    check_arrays(rewards=rewards, truth=truth)
    first, second = rewards.astype(np.float64), truth.astype(np.float64)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    correlation = float(np.corrcoef(first, second)[0, 1])
    return float(np.sqrt(max(0.0, 1 - correlation) / 2))
