"""How sure a mean over seeds is."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

__all__ = ["interval"]


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Return a mean, its 95 % interval (Student's t), and the values.

    Args:
        values: one of each seed.

    Returns:
        ``mean``, ``low``, ``high`` (None where there is but one value) and ``each``.

    Example:
        >>> {key: round(end, 2) for key, end in interval([0.7, 0.8, 0.9]).items() if key != "each"}
        {'mean': 0.8, 'low': 0.55, 'high': 1.05}
    """
    mean, count = fmean(values), len(values)
    half = None
    if count > 1:
        half = float(student.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return {
        "mean": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
        "each": [*values],
    }
