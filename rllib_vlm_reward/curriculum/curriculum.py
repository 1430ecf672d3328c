"""The base class of curricula, and the function that makes one."""

import functools
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from rllib_vlm_reward.curriculum.curriculum_config import KINDS, CurriculumConfig
from rllib_vlm_reward.errors import ConfigError, RewardError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.settings import load_object

__all__ = ["Curriculum", "Outcome", "make_curriculum"]

_TOLERANCE = 1e-6  # of the sum of the weights, which may be float32
_REMEDIES = {
    "vlm_success": "Set threshold, the score above which a goal counts as reached",
    "ground_truth_success": "Set success_key to the info key in which the env reports success",
}


class Outcome(NamedTuple):
    """How a training episode ended, according to the VLM and to ground truth.

    Attributes:
        goal: the goal's index in the training goals.
        vlm_return: sum of the VLM's rewards.
        vlm_success: whether a score exceeded the threshold; None without a threshold.
        ground_truth_return: sum of the env's rewards.
        ground_truth_success: whether the goal was reached according to the env; None if the env
            has no ground truth.
    """

    goal: int
    vlm_return: float
    vlm_success: bool | None
    ground_truth_return: float
    ground_truth_success: bool | None


class Curriculum(ABC):
    """Computes, from the outcomes of episodes, the probabilities with which goals are drawn.

    A subclass implements :meth:`weights`, whose result is checked. A subclass with additional state
    extends :meth:`get_state` and :meth:`set_state`.

    Args:
        goals: the training goals.
        config: the curriculum section of the run.

    Attributes:
        goals: as given.
        config: as given.
        episodes: the total number of episodes of each goal.
        values: the signal of each goal's last ``config.window`` episodes, oldest first; a success
            is 1.0, a failure 0.0.

    Example:
        >>> class Rarest(Curriculum):
        ...     def weights(self):
        ...         fewest = min(self.episodes)
        ...         return self.explored([float(n == fewest) for n in self.episodes])
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> rarest = Rarest(goals, CurriculumConfig(signal="vlm_return", explore=0.5))
        >>> rarest.observe([Outcome(0, 3.0, None, 0.0, None)])
        >>> rarest.weights()
        [0.25, 0.75]
        >>> rarest.record()["goals"]["a ball"]
        {'episodes': 1, 'mean': 3.0}
    """

    def __init__(self, goals: GoalSet, config: CurriculumConfig) -> None:
        self.goals, self.config = goals, config
        self.episodes = [0] * len(goals)
        self.values: list[deque[float]] = [deque(maxlen=config.window) for _ in goals.goals]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "weights" in vars(cls):
            cls.weights = _checked(cls.weights)  # type: ignore[assignment, method-assign]

    def grow(self, goals: GoalSet) -> None:
        """Take goals that were added to the training goals.

        A subclass with state for each goal extends this method, :meth:`get_state` and
        :meth:`set_state`.

        Args:
            goals: the training goals; those that there were have the same indices.
        """
        new = goals.goals[len(self.goals) :]
        self.goals = goals
        self.episodes += [0] * len(new)
        self.values += [deque(maxlen=self.config.window) for _ in new]

    @abstractmethod
    def weights(self) -> list[float]:
        """Return the probability of each training goal, in the order of the goals.

        Raises:
            ConfigError: a subclass returned values that are not probabilities, or too few or many.
        """

    def observe(self, outcomes: Iterable[Outcome]) -> None:
        """Record the outcomes of episodes, oldest first for each env runner.

        Args:
            outcomes: the outcomes, one env runner after another.

        Raises:
            ConfigError: an outcome does not have the signal.
            RewardError: the signal is not finite.
        """
        for outcome in outcomes:
            self.values[outcome.goal].append(self._signal_of(outcome))
            self.episodes[outcome.goal] += 1

    def mean(self, goal: int) -> float | None:
        """Return the mean of the signal over a goal's window; None if it is empty."""
        return fmean(self.values[goal]) if self.values[goal] else None

    def explored(
        self, preferences: Sequence[float], among: Collection[int] | None = None
    ) -> list[float]:
        """Return probabilities that mix normalised preferences with a uniform distribution.

        Args:
            preferences: one number per goal, at least 0. If all are 0, the result is uniform.
            among: the goals over which the share ``config.explore`` is distributed; None takes all
                goals.
        """
        among = range(len(self.goals)) if among is None else among
        total = sum(preferences)
        share = self.config.explore if total else 1.0
        weights = [(1.0 - share) * value / total if total else 0.0 for value in preferences]
        for goal in among:
            weights[goal] += share / len(among)
        return weights

    def get_state(self) -> dict[str, Any]:
        """Return the state in types that JSON has: the records of the goals, by their texts."""
        records = zip(self.goals.texts, self.episodes, self.values, strict=True)
        return {
            "signal": self.config.signal,
            "goals": {
                text: {"episodes": episodes, "values": list(values)}
                for text, episodes, values in records
                if episodes
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the records of the goals from a state.

        Values of another signal are not restored, since they cannot be compared with this signal.

        Args:
            state: what :meth:`get_state` returned, also of a curriculum with other goals.
        """
        comparable = state["signal"] == self.config.signal
        for goal, text in enumerate(self.goals.texts):
            stored = state["goals"].get(text, {"episodes": 0, "values": []})
            self.episodes[goal] = stored["episodes"]
            self.values[goal] = deque(
                stored["values"] if comparable else (), maxlen=self.config.window
            )

    def record(self) -> dict[str, Any]:
        """Return what is logged: the number of episodes and the mean of each goal, by its text."""
        return {
            "goals": {
                text: {"episodes": self.episodes[goal], "mean": self.mean(goal)}
                for goal, text in enumerate(self.goals.texts)
            }
        }

    def _signal_of(self, outcome: Outcome) -> float:
        signal = self.config.signal
        value: float | None = getattr(outcome, signal)
        episode = f"an episode of goal {self.goals[outcome.goal].text!r}"
        if value is None:
            raise ConfigError(
                f"curriculum: the signal is {signal!r}, but {episode} has none. "
                f"{_REMEDIES[signal]}, or choose another signal."
            )
        if not math.isfinite(value):
            raise RewardError(
                f"curriculum: {signal} of {episode} is {value}, expected a finite number. Correct "
                "the reward, or choose another signal."
            )
        return float(value)


def make_curriculum(goals: GoalSet, config: CurriculumConfig) -> Curriculum:
    """Make the curriculum of a configuration.

    Args:
        goals: the training goals.
        config: the curriculum section of the run; ``kind`` is a built-in name or an import path.

    Raises:
        ConfigError: the class cannot be imported, is not a curriculum, or does not suit the goals.

    Example:
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> make_curriculum(goals, CurriculumConfig()).weights()
        [0.5, 0.5]
    """
    path = KINDS.get(config.kind, config.kind)
    curriculum_class = load_object(path, "curriculum.kind")
    if not (isinstance(curriculum_class, type) and issubclass(curriculum_class, Curriculum)):
        raise ConfigError(
            f"curriculum: kind {path!r} is {curriculum_class!r}, expected a class derived from "
            "rllib_vlm_reward.curriculum.Curriculum. Derive it, or set another kind."
        )
    return curriculum_class(goals, config)


def _checked(weights: Callable[[Any], Iterable[float]]) -> Callable[[Any], list[float]]:
    """Wrap ``weights`` to check that it returns a probability distribution."""

    @functools.wraps(weights)
    def checked(self: Curriculum) -> list[float]:
        returned = [float(weight) for weight in weights(self)]
        count, total = len(self.goals), sum(returned)
        is_distribution = all(weight >= 0.0 for weight in returned) and abs(total - 1) <= _TOLERANCE
        if len(returned) != count or not is_distribution:
            raise ConfigError(
                f"curriculum: the weights of {type(self).__module__}.{type(self).__qualname__} are "
                f"{len(returned)} numbers that start with {returned[:5]} and add up to {total:g}, "
                f"expected {count} numbers, one per training goal, none below 0, that add up to 1. "
                "Correct its weights()."
            )
        return returned

    return checked
