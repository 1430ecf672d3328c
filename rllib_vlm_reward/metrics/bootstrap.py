"""How sure a figure is, by drawing the episodes again."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "bootstrap"]

Rows = npt.NDArray[np.intp]

REPEATS = 500
_INSIDE = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval.

    Attributes:
        value: on all frames; NaN where it is not defined.
        low: 2.5 % of the draws lie below; NaN where less than half of them have the figure.
        high: 2.5 % of the draws lie above.
    """

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[Rows], float],
    episodes: npt.NDArray[np.integer],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Interval:
    """Return a figure with its percentile bootstrap interval (Efron, 1979).

    Whole episodes are drawn, since the frames of one resemble each other.

    Args:
        statistic: of frames, given as their rows; a row may come more than once.
        episodes: each frame's episode, integer ``[N]``.
        repeats: how many draws.
        seed: of the draws.

    Example:
        >>> values = np.array([1.0, 1.0, 3.0, 3.0])
        >>> bootstrap(lambda rows: float(values[rows].mean()), np.array([0, 0, 1, 1]))
        Interval(value=2.0, low=1.0, high=3.0)
    """
    order = np.argsort(episodes, kind="stable")
    starts = np.flatnonzero(np.diff(episodes[order], prepend=episodes.min() - 1))
    members = np.split(order, starts[1:])
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(_draw(members, rng)) for _ in range(repeats)])
    known = drawn[np.isfinite(drawn)]
    low, high = float("nan"), float("nan")
    if len(known) * 2 > repeats:
        tail = (1 - _INSIDE) / 2
        low, high = (float(end) for end in np.quantile(known, (tail, 1 - tail)))
    return Interval(statistic(order), low, high)


def _draw(members: list[Rows], rng: np.random.Generator) -> Rows:
    """Return the rows of as many episodes as there are, drawn with replacement."""
    return np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
