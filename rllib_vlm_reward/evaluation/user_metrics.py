"""Metrics that a user writes: a function in a module, named by its import path."""

import dataclasses
import math
import numbers
import traceback
from collections.abc import Iterable

import numpy as np

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.metrics.metric import Episodes, Labels, Metric, Scores
from rllib_vlm_reward.settings import import_path_of, load_object

__all__ = ["UserMetric", "load_metrics"]


@dataclasses.dataclass(frozen=True)
class UserMetric:
    """Calls a user's function and checks its value.

    Attributes:
        path: import path of the function.
        function: see :class:`.Metric`.

    Example:
        >>> def best(scores, labels, episodes):
        ...     return scores.max()
        >>> UserMetric("mine.best", best)(np.array([0.5, 0.25]), np.array([True, False]), None)
        0.5
    """

    path: str
    function: Metric

    def __call__(self, scores: Scores, labels: Labels, episodes: Episodes, /) -> float:
        """Return the function's value.

        Raises:
            ConfigError: the function raises an exception, or returns no number.
        """
        try:
            value = self.function(scores, labels, episodes)
        except Exception as error:
            raise ConfigError(
                f"metric {self.path!r}: {_where(error)} raised {type(error).__name__}: {error} "
                f"(for {len(scores)} frames, {int(labels.sum())} of them a success). Correct the "
                "function; where it is not defined, return NaN."
            ) from error
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ConfigError(
                f"metric {self.path!r}: got {value!r} of type {type(value).__name__}, expected a "
                "float. Let the function return one number, such as float(values.mean())."
            )
        return float(value)

    def try_out(self, frames: LabelledFrames) -> None:
        """Call the function with random scores, to find its errors before frames are scored.

        Raises:
            ConfigError: see :meth:`__call__`.
        """
        scores = np.random.default_rng(0).random(len(frames), np.float32)
        self(scores, frames.labels.copy(), frames.episode_indices)

    def check(self, value: float) -> None:
        """Check that the value over all frames is finite; over some of the frames it may be NaN.

        Raises:
            ConfigError: the value is not finite.
        """
        if not math.isfinite(value):
            raise ConfigError(
                f"metric {self.path!r}: got {value} for all frames, expected a finite number (for "
                "the frames of a single goal, NaN means not defined). Correct the function, or "
                "collect frames of both successes and failures."
            )


def load_metrics(given: Iterable[str | Metric]) -> dict[str, UserMetric]:
    """Return the user's metrics by their import path.

    Args:
        given: import paths ``package.module.function``, or functions.

    Raises:
        ConfigError: a path names no function, or is given twice.

    Example:
        >>> load_metrics(["math.tau"])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: metric 'math.tau': got a float, expected a function \
(scores, labels, episodes) -> float. Name one by package.module.function.
    """
    metrics: dict[str, UserMetric] = {}
    for each in given:
        path = each if isinstance(each, str) else import_path_of(each)
        function = load_object(each, "metric") if isinstance(each, str) else each
        if not callable(function):
            raise ConfigError(
                f"metric {path!r}: got a {type(function).__name__}, expected a function "
                "(scores, labels, episodes) -> float. Name one by package.module.function."
            )
        if path in metrics:
            raise ConfigError(f"metric {path!r}: given twice, expected once. Remove one.")
        metrics[path] = UserMetric(path, function)
    return metrics


def _where(error: Exception) -> str:
    """Return the file and line that raised, or the call if its arguments do not fit."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if frame.filename == __file__:
        return "the call with (scores, labels, episodes)"
    return f"{frame.filename}, line {frame.lineno},"
