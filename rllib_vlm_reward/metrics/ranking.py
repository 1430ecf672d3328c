"""Measures of ranking: the AUROC, and the rank correlation with another value."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr

from rllib_vlm_reward.metrics.checks import check_arrays

__all__ = ["auroc", "rank_correlation"]


def auroc(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a success scores higher than a failure; equal scores count half.

    This is the area under the ROC curve, in [0, 1]. Random scores get 0.5; less means that
    failures score higher. The result is NaN if there are no successes, or no failures.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`.

    Example:
        >>> auroc(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
        0.5
    """
    check_arrays(scores=scores, labels=labels)
    successes = int(labels.sum())
    failures = len(labels) - successes
    if not successes or not failures:
        return float("nan")
    above = rankdata(scores)[labels].sum() - successes * (successes + 1) / 2
    return float(above / (successes * failures))


def rank_correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation, in [-1, 1]; NaN if either is constant.

    QVal (arXiv 2606.32034) rates a reward signal by its correlation with an oracle's value.

    Args:
        a: float ``[N]``.
        b: float ``[N]``.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`.

    Example:
        >>> rank_correlation(np.array([0.1, 0.2, 0.9]), np.array([-9.0, -3.0, 0.0]))
        1.0
    """
    check_arrays(a=a, b=b)
    if len(a) < 2 or a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(spearmanr(a, b).statistic.round(12))
