"""Statistics of the scores of a fragment, which can be added up over env runners."""

import dataclasses
import zlib
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.monitoring.scored_steps import FAILURE, SUCCESS, UNKNOWN, ScoredSteps

__all__ = [
    "BINS",
    "FAILURE",
    "SUCCESS",
    "UNKNOWN",
    "ScoreCounter",
    "ScoreStatistics",
]

BINS = 512
_TRUTHS = (FAILURE, SUCCESS, UNKNOWN)
# What an episode has so far: number of scores, their mean, number of false fires.
SoFar = tuple[int, float, int]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ScoreStatistics:
    """Counts over scored steps and over episodes. Their sum is the statistics of all steps.

    Attributes:
        counts: int64 ``[3, BINS]``: number of steps by truth (FAILURE, SUCCESS, UNKNOWN) and
            score, in equal bins from the head's lowest score to its highest.
        fired: int64 ``[3]``: number of steps whose reward fired, by truth.
        moments: float64 ``[5]``: number of steps; sum of their scores; sum of the squared
            deviations from the mean of their episode; degrees of freedom of that sum; sum over
            episodes of the squared number of false fires (steps that fired without a success).
        episodes: int64 ``[4]``: number of episodes that ended; of those with ground truth; of
            those that succeeded; of those whose reward fired but that never succeeded.
        seen_in: for each of the three truths, the episodes with such a step, as the CRC-32 of
            their ids. Intervals use the number of episodes, since the steps of one episode are
            not independent.

    Example:
        >>> one = ScoreStatistics.of(["e", "e"], [0.1, 0.9], [False, True], [FAILURE, SUCCESS])
        >>> both = ScoreStatistics.total([one, one])
        >>> both.steps, both.counts.sum(axis=1).tolist(), both.fired.tolist()
        (4, [2, 2, 0], [0, 2, 0])
        >>> both.episodes_with(SUCCESS)
        1
    """

    counts: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros((3, BINS), np.int64)
    )
    fired: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(3, np.int64))
    moments: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(5))
    episodes: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(4, np.int64)
    )
    seen_in: tuple[frozenset[int], ...] = (frozenset(),) * 3

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        scores: npt.ArrayLike,
        fired: npt.ArrayLike,
        truths: npt.ArrayLike,
        *,
        low: float = 0.0,
        high: float = 1.0,
        ended: Sequence[tuple[bool | None, bool]] = (),
        so_far: MutableMapping[str, SoFar] | None = None,
    ) -> "ScoreStatistics":
        """Return the statistics of N steps that have a score.

        Args:
            ids: the id of each step's episode.
            scores: float ``[N]``: the scores that are compared with β.
            fired: bool ``[N]``: whether the reward fired.
            truths: int ``[N]``: FAILURE, SUCCESS or UNKNOWN.
            low: the head's lowest score.
            high: the head's highest score.
            ended: for each episode that ended, (success, fired); success is None if the env has
                no ground truth.
            so_far: for each episode with earlier steps, the number and mean of their scores, and
                the number of their false fires. The steps are added to it.
        """
        scores, truths = np.asarray(scores, np.float64), np.asarray(truths, np.int64)
        fires = np.asarray(fired, np.bool_)
        number: dict[str, int] = {}
        owner = np.array([number.setdefault(id_, len(number)) for id_ in ids], np.int64)
        bins = ((scores - low) / (high - low) * BINS).astype(np.int64).clip(0, BINS - 1)
        with_truth = [(success, paid) for success, paid in ended if success is not None]
        false_positives = sum(paid and not success for success, paid in with_truth)
        succeeded = sum(success for success, _ in with_truth)
        names = np.array([zlib.crc32(id_.encode()) for id_ in number], np.int64)
        wrong = fires & (truths == FAILURE)
        return cls(
            counts=np.bincount(truths * BINS + bins, minlength=3 * BINS).reshape(3, BINS),
            fired=np.bincount(truths[fires], minlength=3),
            moments=_moments(scores, owner, wrong, [*number], {} if so_far is None else so_far),
            episodes=np.array([len(ended), len(with_truth), succeeded, false_positives]),
            seen_in=tuple(frozenset(names[owner[truths == truth]].tolist()) for truth in _TRUTHS),
        )

    @classmethod
    def total(cls, parts: Iterable["ScoreStatistics"]) -> "ScoreStatistics":
        """Return the sum of several statistics."""
        total, seen_in = cls(), tuple(set[int]() for _ in range(3))
        for part in parts:
            for field in ("counts", "fired", "moments", "episodes"):
                np.add(getattr(total, field), getattr(part, field), out=getattr(total, field))
            for union, names in zip(seen_in, part.seen_in, strict=True):
                union |= names
        return dataclasses.replace(total, seen_in=tuple(map(frozenset, seen_in)))

    @property
    def steps(self) -> int:
        """The number of steps with a score."""
        return int(self.moments[0])

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return float(self.moments[1] / self.moments[0])

    @property
    def spread(self) -> float | None:
        """Standard deviation of the scores within an episode; None if no episode has two scores."""
        _, _, squares, freedom, _ = self.moments.tolist()
        return (squares / freedom) ** 0.5 if freedom else None

    def episodes_with(self, truth: int) -> int:
        """Return the number of episodes with a step of this truth."""
        return len(self.seen_in[truth])

    def pack(self) -> tuple[Any, ...]:
        """Return the statistics as a small tuple, which leaves out empty bins."""
        filled = np.flatnonzero(self.counts).astype(np.uint16)
        counts = self.counts.ravel()[filled].astype(np.uint32)
        rest = (array.tolist() for array in (self.fired, self.moments, self.episodes))
        names = (np.array(sorted(each), np.uint32).tobytes() for each in self.seen_in)
        return (filled.tobytes(), counts.tobytes(), *rest, *names)

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> "ScoreStatistics":
        """Return the statistics from the tuple of :meth:`pack`."""
        filled, counts, fired, moments, episodes, *names = packed
        dense = np.zeros(3 * BINS, np.int64)
        dense[np.frombuffer(filled, np.uint16)] = np.frombuffer(counts, np.uint32)
        step_fields = (dense.reshape(3, BINS), np.array(fired), np.array(moments, np.float64))
        seen_in = (frozenset(np.frombuffer(each, np.uint32).tolist()) for each in names)
        return cls(*step_fields, np.array(episodes), tuple(seen_in))


class ScoreCounter:
    """Collects the steps of a fragment, and computes their statistics.

    Args:
        low: the head's lowest score.
        high: the head's highest score.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        self._low, self._high = low, high
        self._steps: list[ScoredSteps] = []
        # An episode may extend over several fragments, and so does the mean of its scores.
        self._so_far: dict[str, SoFar] = {}

    def observe(self, steps: ScoredSteps) -> None:
        """Store steps whose scores are known."""
        self._steps.append(steps)

    def take(
        self,
        leaving: Collection[str],
        ongoing: Collection[str],
        ended: Sequence[tuple[bool | None, bool]],
    ) -> ScoreStatistics:
        """Return the statistics of the fragment, and begin a new fragment.

        Args:
            leaving: ids of the episodes that leave the env runner. The steps of all others are
                ignored, since these were abandoned.
            ongoing: ids of the episodes that continue in the next fragment.
            ended: see :meth:`ScoreStatistics.of`.
        """
        steps = ScoredSteps.join(self._steps)
        self._steps = []
        rows = [
            row
            for row in np.flatnonzero(steps.has_score).tolist()
            if steps.episodes[row].id_ in leaving
        ]
        ids = [steps.episodes[row].id_ for row in rows]
        statistics = ScoreStatistics.of(
            ids,
            steps.scores[rows],
            steps.fired[rows],
            steps.truths[rows],
            low=self._low,
            high=self._high,
            ended=ended,
            so_far=self._so_far,
        )
        self._so_far = {id_: each for id_, each in self._so_far.items() if id_ in ongoing}
        return statistics


def _moments(
    scores: npt.NDArray[np.float64],
    owner: npt.NDArray[np.int64],
    wrong: npt.NDArray[np.bool_],
    names: Sequence[str],
    so_far: MutableMapping[str, SoFar],
) -> npt.NDArray[np.float64]:
    """Return the moments of the steps of some chunks; the chunks of an episode sum to its moments.

    The chunks are added to what their episodes have so far.

    This is the update of Chan, Golub and LeVeque (1979): the squared deviations within a chunk,
    and a term for the difference between its mean and the mean of the earlier steps. The square of
    an episode's false fires grows by (a + b)² - a².
    """
    before = [so_far.get(name, (0, 0.0, 0)) for name in names]
    number, mean, earlier = np.array(before, np.float64).reshape(-1, 3).T
    sizes = np.bincount(owner, minlength=len(names))
    means = np.bincount(owner, scores, minlength=len(names)) / np.maximum(sizes, 1)
    shares = sizes / np.maximum(number + sizes, 1)
    within = ((scores - means[owner]) ** 2).sum()
    between = number * shares * (means - mean) ** 2
    freedom = sizes - (number == 0)
    fires = np.bincount(owner[wrong], minlength=len(names))
    fires_so_far = (earlier + fires).astype(int)
    columns = (number + sizes).astype(int), mean + shares * (means - mean), fires_so_far
    after = zip(*(each.tolist() for each in columns), strict=True)
    so_far.update(zip(names, after, strict=True))
    squares = fires * (fires + 2 * earlier)
    deviations = within + between.sum()
    return np.array([len(scores), scores.sum(), deviations, freedom.sum(), squares.sum()])
