"""What every curriculum records of a run's episodes, and how one is made."""

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

_TOLERANCE = 1e-6  # of the weights' sum; they may come as float32
_REMEDIES = {
    "vlm_success": "Set threshold, the score above which a goal counts as reached",
    "ground_truth_success": "Set success_key to the info key in which the env reports success",
}


class Outcome(NamedTuple):
    """How an episode of training ended, by the VLM and by ground truth.

    Attributes:
        goal: the goal's index in the training goals.
        vlm_return: sum of the VLM's rewards.
        vlm_success: whether the VLM saw the goal reached; None without a threshold.
        ground_truth_return: sum of the env's rewards.
        ground_truth_success: whether the env says that the goal was reached; None if the env has
            no ground truth.
    """

    goal: int
    vlm_return: float
    vlm_success: bool | None
    ground_truth_return: float
    ground_truth_success: bool | None


class Curriculum(ABC):
    """Turns the outcomes of episodes into the weights with which the next goals are drawn.

    A subclass implements :meth:`weights`; the returned weights are checked. A subclass with a
    state of its own extends :meth:`get_state` and :meth:`set_state`.

    Args:
        goals: the training goals.
        config: the curriculum section of the run.

    Attributes:
        goals, config: as given.
        episodes: how many episodes each goal has had in all.
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

    @abstractmethod
    def weights(self) -> list[float]:
        """Return the probability of each training goal, in their order.

        Raises:
            ConfigError: a subclass returned anything else.
        """

    def observe(self, outcomes: Iterable[Outcome]) -> None:
        """Record episodes that ended, in their order.

        The episodes of several env runners come one env runner after another.

        Raises:
            ConfigError: an outcome lacks the signal.
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
        """Return weights in proportion to preferences, apart from the share ``explore``.

        Args:
            preferences: one number per goal, at least 0; if all are 0, all draws are uniform.
            among: the goals over which the share ``explore`` is uniform; None takes all goals.
        """
        among = range(len(self.goals)) if among is None else among
        total = sum(preferences)
        share = self.config.explore if total else 1.0
        weights = [(1.0 - share) * one / total if total else 0.0 for one in preferences]
        for goal in among:
            weights[goal] += share / len(among)
        return weights

    def get_state(self) -> dict[str, Any]:
        """Return the record of every goal by the goal's text, in types that JSON has."""
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
        """Replace the records of these goals by those of a state.

        Values of another signal are left out, since they cannot be compared with this one's.
        """
        comparable = state["signal"] == self.config.signal
        for goal, text in enumerate(self.goals.texts):
            stored = state["goals"].get(text, {"episodes": 0, "values": []})
            self.episodes[goal] = stored["episodes"]
            self.values[goal] = deque(
                stored["values"] if comparable else (), maxlen=self.config.window
            )

    def record(self) -> dict[str, Any]:
        """Return what is logged: for each goal's text its episodes and its mean."""
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
        ConfigError: the class cannot be imported, is no curriculum, or does not suit the goals.

    Example:
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> make_curriculum(goals, CurriculumConfig()).weights()
        [0.5, 0.5]
    """
    path = KINDS.get(config.kind, config.kind)
    made = load_object(path, "curriculum.kind")
    if not (isinstance(made, type) and issubclass(made, Curriculum)):
        raise ConfigError(
            f"curriculum: kind {path!r} is {made!r}, expected a class derived from "
            "rllib_vlm_reward.curriculum.Curriculum. Derive it, or name another."
        )
    return made(goals, config)


def _checked(weights: Callable[[Any], Iterable[float]]) -> Callable[[Any], list[float]]:
    """Refuse weights that are no distribution, before they reach env runners."""

    @functools.wraps(weights)
    def checked(self: Curriculum) -> list[float]:
        given = [float(weight) for weight in weights(self)]
        count, total = len(self.goals), sum(given)
        is_distribution = all(weight >= 0.0 for weight in given) and abs(total - 1) <= _TOLERANCE
        if len(given) != count or not is_distribution:
            raise ConfigError(
                f"curriculum: the weights of {type(self).__module__}.{type(self).__qualname__} are "
                f"{len(given)} numbers that start with {given[:5]} and add up to {total:g}, "
                f"expected {count}, one per training goal, none below 0, that add up to 1. "
                "Correct its weights()."
            )
        return given

    return checked
