"""The reliability diagram: the share of successes among frames with the same score."""

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.metrics.checks import check_arrays

__all__ = ["Reliability", "reliability"]

Shares = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Reliability:
    """A reliability diagram (DeGroot and Fienberg, 1983) in bins of equal width.

    Attributes:
        edges: float64 ``[bins + 1]``: edges of the bins, 0 to 1.
        predicted: float64 ``[bins]``: mean score in each bin; NaN for an empty bin.
        observed: float64 ``[bins]``: share of successes in each bin; NaN for an empty bin.
        frames: int64 ``[bins]``: number of frames in each bin.
        expected_error: the mean over frames of |predicted - observed|, known as the expected
            calibration error (arXiv 1706.04599).
    """

    edges: Shares
    predicted: Shares
    observed: Shares
    frames: npt.NDArray[np.int64]
    expected_error: float


def reliability(
    scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_], bins: int = 10
) -> Reliability:
    """Return the reliability diagram of scores that are probabilities.

    Args:
        scores: float ``[N]``, probabilities in [0, 1].
        labels: bool ``[N]``, true for a frame that shows its goal.
        bins: number of bins; a score of 1 falls into the last bin.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`; or a score is no probability.

    Example:
        >>> found = reliability(np.array([0.9, 0.8, 0.1]), np.array([True, False, False]), bins=2)
        >>> found.observed, round(found.expected_error, 3)
        (array([0. , 0.5]), 0.267)
    """
    check_arrays(scores=scores, labels=labels)
    # A probability of float32 may exceed 1 by its rounding error.
    if scores.min() < 0 or scores.max() > 1 + np.finfo(np.float32).eps:
        raise RewardError(
            f"scores: got values from {scores.min():g} to {scores.max():g}, expected "
            "probabilities in [0, 1]. Use a head whose scores are probabilities."
        )
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    frames = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, weights=scores, minlength=bins) / frames
        observed = np.bincount(place, weights=labels, minlength=bins) / frames
    gaps = np.abs(predicted - observed)
    error = float(np.nansum(gaps * frames) / len(scores))
    return Reliability(edges, predicted, observed, frames, error)
