"""The distance of two rewards."""

import numpy as np
import numpy.typing as npt

__all__ = ["epic_distance"]


def epic_distance(
    rewards: npt.NDArray[np.number], truth: npt.NDArray[np.number] | npt.NDArray[np.bool_]
) -> float:
    """Return √((1 - ρ) / 2), ρ Pearson's correlation, in [0, 1].

    EPIC (Gleave et al., arXiv 2006.13900) of rewards that depend on the state alone, as vlmrm
    computes it against binary labels (arXiv 2310.12921, section 4): 0 the same reward up to scale
    and shift, √½ unrelated, 1 the opposite. NaN where either is constant.

    Args:
        rewards: ``[N]``.
        truth: ``[N]``, labels or another reward of the same states.

    Example:
        >>> round(epic_distance(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0])), 3)
        0.057
    """
    first, second = rewards.astype(np.float64), truth.astype(np.float64)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    correlation = float(np.corrcoef(first, second)[0, 1])
    return float(np.sqrt(max(0.0, 1 - correlation) / 2))
