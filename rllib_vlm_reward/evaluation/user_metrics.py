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
    """A user's function, called and checked.

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
        """Return the function's number.

        Raises:
            ConfigError: the function raises, or returns no number.
        """
        try:
            value = self.function(scores, labels, episodes)
        except Exception as error:
            raise ConfigError(
                f"metric {self.path!r}: {_where(error)} raised {type(error).__name__}: {error} (of "
                f"{len(scores)} frames, {int(labels.sum())} of them a success). Correct the "
                "function; where it is not defined, let it return NaN."
            ) from error
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ConfigError(
                f"metric {self.path!r}: got {value!r} of type {type(value).__name__}, expected a "
                "float. Let the function return one number, such as float(values.mean())."
            )
        return float(value)

    def try_out(self, frames: LabelledFrames) -> None:
        """Call the function with random scores, so that an error comes before frames are scored.

        Raises:
            ConfigError: see :meth:`__call__`.
        """
        scores = np.random.default_rng(0).random(len(frames), np.float32)
        self(scores, frames.labels.copy(), frames.episode_indices)

    def check(self, value: float) -> None:
        """Refuse a value of all frames that is not finite; of some frames it may be NaN.

        Raises:
            ConfigError: it is not finite.
        """
        if not math.isfinite(value):
            raise ConfigError(
                f"metric {self.path!r}: got {value} of all frames, expected a finite number (of a "
                "single goal's frames NaN means that the metric is not defined there). Correct the "
                "function, or collect frames of both successes and failures."
            )


def load_metrics(given: Iterable[str | Metric]) -> dict[str, UserMetric]:
    """Return metrics by their import path.

    Args:
        given: import paths ``package.module.function``, or functions.

    Raises:
        ConfigError: there is no such function, or it is given twice.

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
            raise ConfigError(f"metric {path!r}: got it twice, expected it once. Remove one.")
        metrics[path] = UserMetric(path, function)
    return metrics


def _where(error: Exception) -> str:
    """Return the file and line that raised; the call itself where the function takes no such."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if frame.filename == __file__:
        return "the call with (scores, labels, episodes)"
    return f"{frame.filename}, line {frame.lineno},"
