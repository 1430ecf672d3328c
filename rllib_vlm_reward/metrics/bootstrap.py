"""Confidence intervals from resampled episodes."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.metrics.checks import check_arrays
from rllib_vlm_reward.metrics.metric import Metric

__all__ = ["Interval", "bootstrap", "bootstrap_metric"]

Rows = npt.NDArray[np.intp]
Episodes = npt.NDArray[np.integer]

REPEATS = 500
_INSIDE = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval.

    Attributes:
        value: the figure over all frames; NaN if it is not defined.
        low: the lower end, from the 2.5 % quantile of the resampled figures; NaN if the figure is
            undefined for half of the resamples or more.
        high: the upper end, from the 97.5 % quantile, under the same condition.
    """

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[[Rows], float],
    episodes: Episodes,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    centred: bool = False,
) -> Interval:
    """Return a figure with its percentile bootstrap interval (Efron, 1979).

    Whole episodes are resampled, since the frames of one episode are similar to each other.

    Args:
        statistic: computes the figure from the row indices of frames; an index may occur several
            times.
        episodes: integer ``[N]``: the episode of each frame.
        repeats: the number of resamples; with 0 there is no interval.
        seed: seed for the resampling.
        centred: shift the interval so that the median of the resampled figures falls on the
            figure. Use it for a figure that resampling increases, such as the calibration error:
            its percentile interval may lie above the figure.

    Raises:
        LabelError: ``episodes`` is empty or holds no integers.

    Example:
        >>> values = np.array([1.0, 1.0, 3.0, 3.0])
        >>> bootstrap(lambda rows: float(values[rows].mean()), np.array([0, 0, 1, 1]))
        Interval(value=2.0, low=1.0, high=3.0)
    """
    check_arrays(episodes=episodes)
    members = _members(episodes)
    drawn = [statistic(np.concatenate(draw)) for draw in _draws(members, repeats, seed)]
    value = statistic(np.concatenate(members))
    interval = _interval(value, drawn)
    if not centred or not np.isfinite(interval.low):
        return interval
    shift = value - float(np.nanmedian(drawn))
    return Interval(value, interval.low + shift, interval.high + shift)


def bootstrap_metric(
    metric: Metric,
    scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.bool_],
    episodes: Episodes,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Interval:
    """Return a metric with its percentile bootstrap interval, see :func:`bootstrap`.

    If an episode is drawn twice, the metric gets its frames twice, with two episode numbers.

    Args:
        metric: see :class:`.Metric`.
        scores: float ``[N]``.
        labels: bool ``[N]``.
        episodes: integer ``[N]``: the episode of each frame.
        repeats: see :func:`bootstrap`.
        seed: see :func:`bootstrap`.

    Raises:
        LabelError, RewardError: see :func:`.check_arrays`.

    Example:
        >>> def episodes_with_a_success(scores, labels, episodes):
        ...     return float(len(set(episodes[labels])))
        >>> labels, episodes = np.array([True, False, True]), np.array([7, 7, 3])
        >>> bootstrap_metric(episodes_with_a_success, np.zeros(3), labels, episodes)
        Interval(value=2.0, low=2.0, high=2.0)
    """

    def measure(draw: Sequence[Rows]) -> float:
        rows = np.concatenate(draw)
        numbers = np.repeat(np.arange(len(draw)), [len(each) for each in draw])
        return metric(scores[rows], labels[rows], numbers)

    check_arrays(scores=scores, labels=labels, episodes=episodes)
    members = _members(episodes)
    return _interval(measure(members), [*map(measure, _draws(members, repeats, seed))])


def _members(episodes: Episodes) -> list[Rows]:
    """Return the row indices of each episode, in order."""
    order = np.argsort(episodes, kind="stable")
    starts = np.flatnonzero(np.diff(episodes[order], prepend=episodes.min() - 1))
    return np.split(order, starts[1:])


def _draws(members: list[Rows], repeats: int, seed: int) -> Iterator[list[Rows]]:
    """Yield resamples: as many episodes as there are, drawn with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        yield [members[i] for i in rng.integers(len(members), size=len(members))]


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    finite = np.array(drawn)[np.isfinite(drawn)]
    low, high = float("nan"), float("nan")
    if len(finite) * 2 > len(drawn):
        tail = (1 - _INSIDE) / 2
        low, high = (float(end) for end in np.quantile(finite, (tail, 1 - tail)))
    return Interval(value, low, high)
