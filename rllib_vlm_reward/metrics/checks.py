"""Checks the arrays that a metric is computed from."""

from typing import Any

import numpy as np

from rllib_vlm_reward.errors import LabelError, RewardError

__all__ = ["check_arrays"]


def check_arrays(*, labels: Any = None, episodes: Any = None, **numbers: Any) -> None:
    """Check arrays before a metric is computed from them.

    Without this check a NaN, a text label or an empty array would give a number, or an error of
    NumPy.

    Args:
        labels: must be bool ``[N]``; None if the metric has no labels.
        episodes: must be integer ``[N]``; None if the metric has no episodes.
        numbers: by name, each must be finite numbers ``[N]``.

    Raises:
        LabelError: labels or episodes have another type, the lengths differ, or N is 0.
        RewardError: a number is not finite.

    Example:
        >>> check_arrays(scores=np.array([0.5, np.nan]), labels=np.array([True, False]))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.RewardError: scores: got nan in row 1, expected finite numbers. \
Check the encoder and the frames.
    """
    kinds = {name: (array, "biuf", "numbers") for name, array in numbers.items()}
    kinds |= {"labels": (labels, "b", "bool"), "episodes": (episodes, "iu", "integers")}
    lengths = {}
    for name, (array, letters, expected) in kinds.items():
        if array is None:
            continue
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in letters:
            got = type(array).__name__
            if isinstance(array, np.ndarray):
                got = f"{array.dtype} {list(array.shape)}"
            raise LabelError(
                f"{name}: got {got}, expected {expected} [N]. Convert it to a NumPy array of that "
                "type."
            )
        lengths[name] = len(array)
    if len({*lengths.values()}) > 1 or 0 in lengths.values():
        raise LabelError(
            f"got the lengths {lengths}, expected one length of at least 1. Pass one value for "
            "each frame."
        )
    for name, array in numbers.items():
        wrong = np.flatnonzero(~np.isfinite(array))
        if len(wrong):
            raise RewardError(
                f"{name}: got {array[wrong[0]]} in row {wrong[0]}, expected finite numbers. Check "
                "the encoder and the frames."
            )
