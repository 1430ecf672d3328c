"""Counts the frames that score above β by episode, and computes precision, recall and more."""

import dataclasses

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.metrics.checks import check_arrays

__all__ = ["Fires"]

Counts = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Fires:
    """How often a reward fires, that is score > β (the paper's equation 2), in each of E episodes.

    Attributes:
        right: integer ``[E]``: number of frames that fire and show their goal.
        wrong: integer ``[E]``: number of frames that fire but do not show their goal.
        successes: integer ``[E]``: number of frames that show their goal.

    Example:
        >>> scores, labels = np.array([0.9, 0.8, 0.1]), np.array([True, False, True])
        >>> fires = Fires.at(0.5, scores, labels, np.array([0, 0, 1]))
        >>> fires.precision, fires.recall, fires.false_positives, fires.missed_episodes
        (0.5, 0.5, 0.5, 0.5)
        >>> fires.of("false_positives", np.array([0, 0]))  # the first episode, twice
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
        """Count the frames that fire.

        Args:
            threshold: β.
            scores: float ``[N]``.
            labels: bool ``[N]``, true for a frame that shows its goal.
            episodes: integer ``[N]``: the episode of each frame.

        Raises:
            LabelError, RewardError: see :func:`.check_arrays`; or the threshold is NaN.
        """
        check_arrays(scores=scores, labels=labels, episodes=episodes)
        if np.isnan(threshold):
            raise RewardError("threshold: got nan, expected a number. Set the threshold.")
        names, place = np.unique(episodes, return_inverse=True)
        fired = scores > threshold
        counted = (fired & labels, fired & ~labels, labels)
        return cls(*(np.bincount(place[which], minlength=len(names)) for which in counted))

    def __len__(self) -> int:
        return len(self.right)

    def of(self, figure: str, episodes: npt.NDArray[np.integer]) -> float:
        """Return a figure over some episodes.

        Args:
            figure: the name of one of the properties below.
            episodes: indices of episodes; an index may occur several times, as in a resample.
        """
        selected = Fires(self.right[episodes], self.wrong[episodes], self.successes[episodes])
        return float(getattr(selected, figure))

    @property
    def precision(self) -> float:
        """The share of successes among the frames that fire; NaN if no frame fires."""
        return _share(self.right.sum(), self.right.sum() + self.wrong.sum())

    @property
    def recall(self) -> float:
        """The share of the successes that fire; NaN if there are none."""
        return _share(self.right.sum(), self.successes.sum())

    @property
    def false_positives(self) -> float:
        """The mean number of frames in an episode that fire without a success."""
        return _share(self.wrong.sum(), len(self))

    @property
    def missed_episodes(self) -> float:
        """The share of the episodes with a success in which no success fires; NaN without any."""
        succeeded = self.successes > 0
        return _share((succeeded & (self.right == 0)).sum(), succeeded.sum())


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
