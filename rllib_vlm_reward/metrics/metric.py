"""What a metric is, and the built-in ones."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.metrics.epic import epic_distance
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.metrics.ranking import auroc

__all__ = ["METRICS", "Metric", "frame_wise"]

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]
Episodes = npt.NDArray[np.integer]


class Metric(Protocol):
    """A function that says in one number how well scores tell success from failure."""

    def __call__(self, scores: Scores, labels: Labels, episodes: Episodes, /) -> float:
        """Return the metric of N frames.

        Args:
            scores: float32 ``[N]``, in the head's range.
            labels: bool ``[N]``, true where a frame shows its goal.
            episodes: integer ``[N]``, each frame's episode. Frames of one episode lie side by
                side, in the order in which they were collected.

        Returns:
            The metric; NaN where it is not defined, as average precision is without a success.
        """


def frame_wise(function: Callable[[Scores, Labels], float]) -> Metric:
    """Return a metric of a function that does not ask which episode a frame belongs to.

    Example:
        >>> metric = frame_wise(auroc)
        >>> metric(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 0]))
        1.0
    """

    def metric(scores: Scores, labels: Labels, episodes: Episodes, /) -> float:
        return function(scores, labels)

    return metric


METRICS: Mapping[str, Metric] = {
    "average_precision": frame_wise(average_precision),
    "auroc": frame_wise(auroc),
    "epic_score": frame_wise(epic_distance),
}
"""The built-in metrics by name. Each entry is a figure of every evaluation, with an interval."""
