"""Frames that score above β, counted by episode, and the figures that follow."""

import dataclasses

import numpy as np
import numpy.typing as npt

__all__ = ["Fires"]

Counts = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Fires:
    """How often a reward fires, score > β (the paper's equation 2), in each of E episodes.

    Attributes:
        right: frames that fire and are a success, integer ``[E]``.
        wrong: frames that fire and are none, integer ``[E]``.
        successes: frames that show their goal, integer ``[E]``.

    Example:
        >>> scores, labels = np.array([0.9, 0.8, 0.1]), np.array([True, False, True])
        >>> fires = Fires.at(0.5, scores, labels, np.array([0, 0, 1]))
        >>> fires.precision, fires.recall, fires.false_positives, fires.missed_episodes
        (0.5, 0.5, 0.5, 0.5)
        >>> fires.of("false_positives", np.array([0, 0]))  # a draw that has the first one twice
        1.0
    """

    right: Counts
    wrong: Counts
    successes: Counts

    @classmethod
    def at(
        cls,
        threshold: float,
        scores: npt.NDArray[np.floating],
        labels: npt.NDArray[np.bool_],
        episodes: npt.NDArray[np.integer],
    ) -> "Fires":
        """Count the frames that fire at a β.

        Args:
            threshold: β.
            scores: see the package.
            labels: see the package.
            episodes: each frame's episode, integer ``[N]``.
        """
        names, place = np.unique(episodes, return_inverse=True)
        fired = scores > threshold
        counted = (fired & labels, fired & ~labels, labels)
        return cls(*(np.bincount(place[which], minlength=len(names)) for which in counted))

    def __len__(self) -> int:
        return len(self.right)

    def of(self, figure: str, episodes: npt.NDArray[np.integer]) -> float:
        """Return a figure of some episodes, of which one may come more than once, as in a draw."""
        drawn = Fires(self.right[episodes], self.wrong[episodes], self.successes[episodes])
        return float(getattr(drawn, figure))

    @property
    def precision(self) -> float:
        """Share of the fires at a success; NaN if nothing fires."""
        return _share(self.right.sum(), self.right.sum() + self.wrong.sum())

    @property
    def recall(self) -> float:
        """Share of the successes that fire; NaN if there are none."""
        return _share(self.right.sum(), self.successes.sum())

    @property
    def false_positives(self) -> float:
        """Fires without a success, a mean over episodes."""
        return _share(self.wrong.sum(), len(self))

    @property
    def missed_episodes(self) -> float:
        """Share of the episodes with a success in which none fires; NaN if no episode has one."""
        succeeded = self.successes > 0
        return _share((succeeded & (self.right == 0)).sum(), succeeded.sum())


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
