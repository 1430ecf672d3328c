"""What a fragment's scores say of the reward itself: small, and added up over env runners."""

import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "FAILURE", "SUCCESS", "UNKNOWN", "Digest", "Steps", "lowest_score"]

BINS = 512
# The rows of a digest's counts: what the env says of a step.
FAILURE, SUCCESS, UNKNOWN = range(3)


@dataclasses.dataclass(slots=True)
class Steps:
    """The scored steps of one chunk of an episode.

    Attributes:
        episode: its id.
        scores: what β was held against.
        fired: whether a reward fired.
        truths: success by the env; None where it does not tell.
        before: the number and the mean of the scores of the episode's chunks before this one.
    """

    episode: str
    scores: list[float] = dataclasses.field(default_factory=list)
    fired: list[bool] = dataclasses.field(default_factory=list)
    truths: list[bool | None] = dataclasses.field(default_factory=list)
    before: tuple[int, float] = (0, 0.0)

    def append(self, score: float, fired: bool, truth: bool | None) -> None:
        """Add a step."""
        self.scores.append(score)
        self.fired.append(fired)
        self.truths.append(truth)

    @property
    def so_far(self) -> tuple[int, float]:
        """What is ``before`` for the episode's next chunk.

        Example:
            >>> Steps("e", [0.4, 0.6], [False] * 2, [None] * 2, before=(2, 0.1)).so_far
            (4, 0.3)
        """
        number, mean = self.before
        total = number + len(self.scores)
        return total, (number * mean + sum(self.scores)) / max(total, 1)


def lowest_score(head: str) -> float:
    """Return the least that a head can give; the most is 1.

    Example:
        >>> lowest_score("softmax"), lowest_score("cosine")
        (0.0, -1.0)
    """
    return -1.0 if head in ("cosine", "goal_baseline") else 0.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Digest:
    """Counts over scored steps and over episodes, which add up.

    Attributes:
        counts: int64 ``[3, BINS]``: steps by truth and score, in equal bins from the head's
            lowest score to 1.
        fired: int64 ``[3]``: steps whose reward fired, by truth.
        moments: float64 ``[4]``: steps; the sum of their scores; the squared deviations from the
            mean of their episode; and the degrees of freedom of these.
        episodes: int64 ``[4]``: that ended; of these, those whose truth is known; that succeeded;
            that fired and never succeeded.
        owners: of the three truths, the episodes with such a step, by the CRC-32 of their ids.
            Steps of one episode are no independent sample; intervals count these.

    Example:
        >>> seen = Digest.of([Steps("e", [0.1, 0.9], [False, True], [False, True])], low=0.0)
        >>> both = Digest.total([seen, seen])
        >>> both.steps, both.counts.sum(axis=1).tolist(), both.fired.tolist(), both.held_by(SUCCESS)
        (4, [2, 2, 0], [0, 2, 0], 1)
    """

    counts: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros((3, BINS), np.int64)
    )
    fired: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(3, np.int64))
    moments: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(4))
    episodes: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(4, np.int64)
    )
    owners: tuple[frozenset[int], ...] = (frozenset(),) * 3

    @classmethod
    def of(
        cls, chunks: Sequence[Steps], *, low: float, ended: Sequence[tuple[bool | None, bool]] = ()
    ) -> "Digest":
        """Return the digest of a fragment.

        Args:
            chunks: of its episodes.
            low: the head's lowest score.
            ended: of each episode that ended: success, None where the env does not tell; and
                whether a reward fired.
        """
        kinds = [[UNKNOWN if told is None else int(told) for told in it.truths] for it in chunks]
        truths = np.array([kind for each in kinds for kind in each], np.int64)
        scores = np.array([score for chunk in chunks for score in chunk.scores], np.float64)
        fired = np.array([fired for chunk in chunks for fired in chunk.fired], np.bool_)
        bins = ((scores - low) / (1 - low) * BINS).astype(np.int64).clip(0, BINS - 1)
        told = [(success, fires) for success, fires in ended if success is not None]
        paid_for_nothing = sum(fires and not success for success, fires in told)
        succeeded = sum(success for success, _ in told)
        names = [zlib.crc32(chunk.episode.encode()) for chunk in chunks]
        own = [*zip(names, kinds, strict=True)]
        return cls(
            counts=np.bincount(truths * BINS + bins, minlength=3 * BINS).reshape(3, BINS),
            fired=np.bincount(truths[fired], minlength=3),
            moments=_moments(chunks, scores),
            episodes=np.array([len(ended), len(told), succeeded, paid_for_nothing]),
            owners=tuple(frozenset(name for name, it in own if kind in it) for kind in range(3)),
        )

    @classmethod
    def total(cls, digests: Iterable["Digest"]) -> "Digest":
        """Return that of all their steps."""
        total, owners = cls(), tuple(set[int]() for _ in range(3))
        for each in digests:
            for field in ("counts", "fired", "moments", "episodes"):
                np.add(getattr(total, field), getattr(each, field), out=getattr(total, field))
            for own, its in zip(owners, each.owners, strict=True):
                own |= its
        return dataclasses.replace(total, owners=tuple(map(frozenset, owners)))

    @property
    def steps(self) -> int:
        """The number of scored steps."""
        return int(self.moments[0])

    @property
    def mean(self) -> float:
        """Of the scores."""
        return float(self.moments[1] / self.moments[0])

    @property
    def spread(self) -> float | None:
        """Standard deviation of the scores about their episode's mean; None if each has one."""
        _, _, squares, freedom = self.moments.tolist()
        return (squares / freedom) ** 0.5 if freedom else None

    def held_by(self, kind: int) -> int:
        """Return the number of episodes with a step of this kind."""
        return len(self.owners[kind])

    def pack(self) -> tuple[Any, ...]:
        """Return what is worth sending: only the bins that hold something."""
        filled = np.flatnonzero(self.counts).astype(np.uint16)
        counts = self.counts.ravel()[filled].astype(np.uint32)
        rest = (array.tolist() for array in (self.fired, self.moments, self.episodes))
        owners = (np.array(sorted(each), np.uint32).tobytes() for each in self.owners)
        return (filled.tobytes(), counts.tobytes(), *rest, *owners)

    @classmethod
    def unpack(cls, packed: Sequence[Any]) -> "Digest":
        """Return the digest that :meth:`pack` packed."""
        filled, counts, fired, moments, episodes, *owners = packed
        dense = np.zeros(3 * BINS, np.int64)
        dense[np.frombuffer(filled, np.uint16)] = np.frombuffer(counts, np.uint32)
        of_steps = (dense.reshape(3, BINS), np.array(fired), np.array(moments, np.float64))
        whose = (frozenset(np.frombuffer(each, np.uint32).tolist()) for each in owners)
        return cls(*of_steps, np.array(episodes), tuple(whose))


def _moments(chunks: Sequence[Steps], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a digest's moments; over an episode's chunks they add up to those of the whole.

    After Chan, Golub and LeVeque (1979): where a chunk's mean lies apart from that of the steps
    before it, this adds to the deviations within either.
    """
    sizes = np.array([len(chunk.scores) for chunk in chunks], np.int64)
    number, mean = np.array([chunk.before for chunk in chunks], np.float64).reshape(-1, 2).T
    owner = np.repeat(np.arange(len(sizes)), sizes)
    means = np.bincount(owner, scores, minlength=len(sizes)) / np.maximum(sizes, 1)
    within = ((scores - means[owner]) ** 2).sum()
    between = number * sizes / np.maximum(number + sizes, 1) * (means - mean) ** 2
    freedom = np.maximum(sizes - (number == 0), 0)
    return np.array([len(scores), scores.sum(), within + between.sum(), freedom.sum()])
