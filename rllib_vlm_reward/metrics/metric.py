"""The interface of a metric, and the built-in metrics."""

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
    """A function that measures in one number how well scores separate success from failure."""

    def __call__(self, scores: Scores, labels: Labels, episodes: Episodes, /) -> float:
        """Return the metric of N frames.

        Args:
            scores: float32 ``[N]``, in the head's range.
            labels: bool ``[N]``, true for a frame that shows its goal.
            episodes: integer ``[N]``: the episode of each frame. The frames of an episode are
                adjacent, in the order in which they were collected.

        Returns:
            The metric; NaN if it is not defined, such as average precision without a success.
        """


def frame_wise(function: Callable[[Scores, Labels], float]) -> Metric:
    """Return a metric from a function of scores and labels that does not need the episodes.

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
"""The built-in metrics by name. Every evaluation computes each of them, with an interval."""
