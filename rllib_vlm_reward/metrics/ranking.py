"""Is a success scored above a failure, and a nearer frame above a farther one?"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, spearmanr

__all__ = ["auroc", "rank_correlation"]


def auroc(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a success is scored above a failure, equal scores counting half.

    The area under the ROC curve; NaN where there are no successes, or no failures. 0.5 is
    uninformative, and less is worse than that.

    Example:
        >>> auroc(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
        0.5
    """
    successes = int(labels.sum())
    failures = len(labels) - successes
    if not successes or not failures:
        return float("nan")
    above = rankdata(scores)[labels].sum() - successes * (successes + 1) / 2
    return float(above / (successes * failures))


def rank_correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation, in [-1, 1]; NaN where either is constant.

    QVal (arXiv 2606.32034) rates a reward signal by its correlation with an oracle's value.

    Args:
        a: float ``[N]``.
        b: float ``[N]``.

    Example:
        >>> rank_correlation(np.array([0.1, 0.2, 0.9]), np.array([-9.0, -3.0, 0.0]))
        1.0
    """
    if len(a) < 2 or a.min() == a.max() or b.min() == b.max():
        return float("nan")
    return float(spearmanr(a, b).statistic.round(12))
