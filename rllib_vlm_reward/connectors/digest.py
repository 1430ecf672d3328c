"""What a fragment's scores say of the reward itself: small, and added up over env runners."""

import dataclasses
from collections.abc import Sequence
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
        scores: what β was held against.
        fired: whether a reward fired.
        truths: success by the env; None where it does not tell.
    """

    scores: list[float] = dataclasses.field(default_factory=list)
    fired: list[bool] = dataclasses.field(default_factory=list)
    truths: list[bool | None] = dataclasses.field(default_factory=list)

    def append(self, score: float, fired: bool, truth: bool | None) -> None:
        """Add a step."""
        self.scores.append(score)
        self.fired.append(fired)
        self.truths.append(truth)


def lowest_score(head: str) -> float:
    """Return the least that a head can give; the most is 1.

    Example:
        >>> lowest_score("softmax"), lowest_score("cosine")
        (0.0, -1.0)
    """
    return -1.0 if head in ("cosine", "goal_baseline") else 0.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Digest:
    """Counts over scored steps and over episodes; the sum of two is that of all their steps.

    Attributes:
        counts: int64 ``[3, BINS]``: steps by truth and score, in equal bins from the head's
            lowest score to 1.
        fired: int64 ``[3]``: steps whose reward fired, by truth.
        chunks: int64 ``[3]``: chunks of episodes with such a step, by truth. Steps of one episode
            are no independent sample; intervals count these.
        moments: float64 ``[4]``: steps; the sum of their scores; the squared deviations from the
            mean of their chunk; and the degrees of freedom of these.
        episodes: int64 ``[4]``: that ended; of these, those whose truth is known; that succeeded;
            that fired and never succeeded.

    Example:
        >>> seen = Digest.of([Steps([0.1, 0.9], [False, True], [False, True])], low=0.0)
        >>> both = seen + seen
        >>> both.steps, both.counts.sum(axis=1).tolist(), both.fired.tolist()
        (4, [2, 2, 0], [0, 2, 0])
    """

    counts: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros((3, BINS), np.int64)
    )
    fired: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(3, np.int64))
    chunks: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(3, np.int64))
    moments: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(4))
    episodes: npt.NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.zeros(4, np.int64)
    )

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
        sizes = [len(chunk.scores) for chunk in chunks]
        scores = np.array([score for chunk in chunks for score in chunk.scores], np.float64)
        fired = np.array([fired for chunk in chunks for fired in chunk.fired], np.bool_)
        truths = np.array(
            [UNKNOWN if told is None else int(told) for chunk in chunks for told in chunk.truths],
            np.int64,
        )
        owner = np.repeat(np.arange(len(sizes)), sizes)
        bins = ((scores - low) / (1 - low) * BINS).astype(np.int64).clip(0, BINS - 1)
        totals = np.bincount(owner, scores, minlength=len(sizes))
        means = totals / np.maximum(sizes, 1)
        held = np.unique(owner * 3 + truths) % 3  # each chunk's kinds of step, once
        told = [(success, fires) for success, fires in ended if success is not None]
        return cls(
            counts=np.bincount(truths * BINS + bins, minlength=3 * BINS).reshape(3, BINS),
            fired=np.bincount(truths[fired], minlength=3),
            chunks=np.bincount(held, minlength=3),
            moments=np.array(
                [
                    len(scores),
                    scores.sum(),
                    ((scores - means[owner]) ** 2).sum(),
                    sum(size - 1 for size in sizes if size),
                ]
            ),
            episodes=np.array(
                [
                    len(ended),
                    len(told),
                    sum(success for success, _ in told),
                    sum(fires and not success for success, fires in told),
                ]
            ),
        )

    def __add__(self, other: "Digest") -> "Digest":
        fields = (field.name for field in dataclasses.fields(self))
        return Digest(*(getattr(self, name) + getattr(other, name) for name in fields))

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
        """Standard deviation of the scores about their chunk's mean; None if each has one."""
        _, _, squares, freedom = self.moments.tolist()
        return (squares / freedom) ** 0.5 if freedom else None

    def pack(self) -> tuple[Any, ...]:
        """Return what is worth sending: only the bins that hold something."""
        filled = np.flatnonzero(self.counts).astype(np.uint16)
        counts = self.counts.ravel()[filled].astype(np.uint32)
        rest = (self.fired, self.chunks, self.moments, self.episodes)
        return (filled.tobytes(), counts.tobytes(), *(array.tolist() for array in rest))

    @classmethod
    def unpack(cls, packed: tuple[Any, ...]) -> "Digest":
        """Return the digest that :meth:`pack` packed."""
        filled, counts, fired, chunks, moments, episodes = packed
        dense = np.zeros(3 * BINS, np.int64)
        dense[np.frombuffer(filled, np.uint16)] = np.frombuffer(counts, np.uint32)
        of_steps = (np.array(fired), np.array(chunks), np.array(moments, np.float64))
        return cls(dense.reshape(3, BINS), *of_steps, np.array(episodes))
