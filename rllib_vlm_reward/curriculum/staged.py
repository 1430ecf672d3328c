"""A curriculum of stages: one family of goals after another, from easy to hard."""

import difflib
import itertools
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from rllib_vlm_reward.curriculum.curriculum import Curriculum, Outcome
from rllib_vlm_reward.curriculum.curriculum_config import CurriculumConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.goals import GoalSet

__all__ = ["Staged"]

_MIN_EPISODES = 8  # of each goal, before its stage can end


class Staged(Curriculum):
    """Draws the goals of one stage until they are mastered, and rehearses earlier goals.

    A stage is mastered when each of its goals has 8 episodes (or a full window, if that is less),
    and the mean over its goals of the windows' means is at least ``promote_at``. One call of
    :meth:`observe` promotes by at most one stage. A stage is never repeated; the share ``rehearse``
    of the draws goes to the goals of earlier stages.

    Args:
        goals: the training goals.
        config: the curriculum section of the run.

    Attributes:
        stages: the families of each stage.
        stage: index of the current stage.

    Raises:
        ConfigError: ``stages`` names an unknown family, or lacks a family.

    Example:
        >>> from rllib_vlm_reward.goals import Goal
        >>> goals = GoalSet((Goal("lift", "l", family="hard"), Goal("find", "f", family="easy")))
        >>> config = CurriculumConfig(stages=[["easy"], ["hard"]], explore=0.0)
        >>> staged = Staged(goals, config)
        >>> staged.weights()
        [0.0, 1.0]
        >>> staged.observe([Outcome(1, 1.0, True, 1.0, True)] * 8)
        >>> staged.weights()
        [0.8, 0.2]
    """

    def __init__(self, goals: GoalSet, config: CurriculumConfig) -> None:
        super().__init__(goals, config)
        _check(config.stages, goals)
        self.stages = config.stages or tuple((family,) for family in _by_difficulty(goals))
        self.stage = 0
        self._members = self._members_of_stages()

    def grow(self, goals: GoalSet) -> None:
        """Take added goals into the stages of their families; a new family is a last stage."""
        super().grow(goals)
        known = {*itertools.chain(*self.stages)}
        self.stages += tuple((family,) for family in goals.families if family not in known)
        self._members = self._members_of_stages()

    def _members_of_stages(self) -> list[list[int]]:
        families = self.goals.families
        return [[goal for family in stage for goal in families[family]] for stage in self.stages]

    def observe(self, outcomes: Iterable[Outcome]) -> None:
        """Record outcomes, and go to the next stage if the current one is mastered."""
        super().observe(outcomes)
        if self.stage < len(self.stages) - 1 and self._is_mastered():
            self.stage += 1

    def weights(self) -> list[float]:
        """Return the weights, which are 0 for goals of stages that are not reached."""
        current = self._members[self.stage]
        earlier = list(itertools.chain(*self._members[: self.stage]))
        rehearsed = self.config.rehearse if earlier else 0.0
        preferences = [0.0] * len(self.goals)
        for share, members in ((1.0 - rehearsed, current), (rehearsed, earlier)):
            for goal in members:
                preferences[goal] = share / len(members)
        return self.explored(preferences, among=current + earlier)

    def get_state(self) -> dict[str, Any]:
        """Return the records of the goals, and the families of the stages passed."""
        passed = list(itertools.chain(*self.stages[: self.stage]))
        return {**super().get_state(), "passed": passed}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a state. The stage becomes the first one with a family that was not passed."""
        super().set_state(state)
        passed = set(state.get("passed", ()))  # missing in the state of another kind
        passed_stages = list(itertools.takewhile(passed.issuperset, self.stages))
        self.stage = min(len(passed_stages), len(self.stages) - 1)

    def record(self) -> dict[str, Any]:
        """Return what is logged: the stage, and the number of episodes and mean of each goal."""
        return {"stage": self.stage, **super().record()}

    def _is_mastered(self) -> bool:
        min_episodes = min(self.config.window, _MIN_EPISODES)
        windows = [self.values[goal] for goal in self._members[self.stage]]
        if any(len(window) < min_episodes for window in windows):
            return False
        return fmean(map(fmean, windows)) >= self.config.promote_at


def _by_difficulty(goals: GoalSet) -> list[str]:
    families = goals.families
    difficulties = [goal.difficulty for goal in goals.goals if goal.difficulty is not None]
    if len(difficulties) < len(goals):
        return list(families)
    return sorted(
        families, key=lambda family: fmean(difficulties[goal] for goal in families[family])
    )


def _check(stages: tuple[tuple[str, ...], ...], goals: GoalSet) -> None:
    families, named = list(goals.families), list(itertools.chain(*stages))
    for family in named:
        if family not in families:
            close = difflib.get_close_matches(family, families, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "Correct or remove it."
            raise ConfigError(
                f"stages: got the unknown family {family!r}, expected those of the training "
                f"goals, {families}. {hint}"
            )
    missing = [family for family in families if family not in named]
    if named and missing:
        raise ConfigError(
            f"stages: no stage has the families {missing}, so their goals would never be drawn. "
            "Add them to a stage, or remove their goals."
        )
