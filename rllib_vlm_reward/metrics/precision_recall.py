"""The precision-recall curve over β, and its area."""

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.metrics.checks import check_arrays

__all__ = ["Curve", "average_precision", "precision_recall"]

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Curve:
    """Precision and recall over β: scikit-learn's ``precision_recall_curve`` minus its last point.

    Attributes:
        thresholds: float ``[T]``: the distinct scores, ascending.
        precision: float64 ``[T]``, in [0, 1]: the precision of the frames that score at least the
            threshold.
        recall: float64 ``[T]``, in [0, 1]: their recall; NaN if no frame is a success.
    """

    thresholds: Scores
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def precision_recall(scores: Scores, labels: Labels) -> Curve:
    """Return the curve with every distinct score as β.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`.

    Example:
        >>> curve = precision_recall(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
        >>> curve.thresholds, curve.recall
        (array([0.1, 0.8, 0.9]), array([1. , 0.5, 0.5]))
    """
    check_arrays(scores=scores, labels=labels)
    thresholds, hits, fired = _ranked(scores, labels)
    with np.errstate(invalid="ignore"):
        recall = hits / np.float64(labels.sum())
    return Curve(thresholds[::-1], (hits / fired)[::-1], recall[::-1])


def average_precision(scores: Scores, labels: Labels) -> float:
    """Return the area under the precision-recall curve, Σ (R_n - R_{n-1}) P_n, in [0, 1].

    Equal scores count as one threshold. Random scores get about the share of successes. The result
    is NaN if no frame is a success.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`.

    Example:
        >>> round(average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])), 3)
        0.833
    """
    check_arrays(scores=scores, labels=labels)
    if not labels.any():
        return float("nan")
    _, hits, fired = _ranked(scores, labels)
    return float((np.diff(hits, prepend=0) * hits / fired).sum() / hits[-1])


def _ranked(
    scores: Scores, labels: Labels
) -> tuple[Scores, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct scores, descending, and the successes and frames with at least each."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(labels[order])
    last = np.append(ranked[1:] != ranked[:-1], True)
    return ranked[last], hits[last], np.flatnonzero(last) + 1
