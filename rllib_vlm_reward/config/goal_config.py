"""The ways to give goals: as texts, in full, as a grammar, or in a separate file."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from rllib_vlm_reward.errors import ConfigError, GoalError
from rllib_vlm_reward.goals import Goal, Grammar
from rllib_vlm_reward.settings import (
    Section,
    declare_keys,
    home_path,
    read_settings,
    validated,
)

__all__ = ["GoalConfig", "GoalFile", "TemplateConfig", "resolve_goals"]

S = TypeVar("S", bound=Section)


class TemplateConfig(Section):
    """A :class:`~rllib_vlm_reward.goals.Template` in YAML."""

    goal: str = "{}"
    prompt: str = "{}"
    nothing: str | None = None
    symmetric: bool = False
    family: str | None = None
    noun: str | None = None


# Whoever writes `goal` elsewhere means `goals`.
declare_keys("vlm_reward.templates", {*TemplateConfig.keys()} - {"goal"})


class GoalConfig(Section):
    """A :class:`~rllib_vlm_reward.goals.Goal` in YAML.

    Fields that are None are taken from the goal's template; negatives are drawn from the other
    goals.
    """

    text: str
    prompt: str | None = None
    negatives: tuple[str, ...] | None = None
    baseline: str | None = None
    family: Annotated[str, Field(min_length=1)] | None = None
    difficulty: Annotated[float, Field(allow_inf_nan=False)] | None = None
    noun: str | None = None

    def complete(self, drawn: Goal) -> Goal:
        """Return ``drawn``, made from template and goal set, with the fields that are set here."""
        return dataclasses.replace(
            drawn,
            negatives=drawn.negatives if self.negatives is None else self.negatives,
            baseline=drawn.baseline if self.baseline is None else self.baseline,
            family=drawn.family if self.family is None else self.family,
            difficulty=self.difficulty,
            noun=drawn.noun if self.noun is None else self.noun,
        )


class GoalFile(Section):
    """A YAML file of goals, with keys of the same meaning as in VLMRewardConfig."""

    goals: Annotated[tuple[str | GoalConfig, ...], Field(min_length=1)]
    evaluation_goals: tuple[str | GoalConfig, ...] = ()
    templates: tuple[TemplateConfig, ...] = ()


def resolve_goals(settings: Any) -> Any:
    """Return a reward's settings, with the goals of a grammar or file in full.

    Args:
        settings: the settings. If ``goals`` is a grammar or a path, it is replaced by the list of
            goals. The file holds a list of goals, a grammar, or the keys of :class:`GoalFile`.

    Raises:
        GoalError: the file does not exist or has other content, or evaluation goals or templates
            are set both in the settings and in the file or grammar.

    Example:
        >>> goals = {"goals": ["a {color} ball"], "words": {"color": ["red", "blue"]}}
        >>> resolve_goals({"encoder": "small", "goals": goals})
        {'encoder': 'small', 'goals': ('a red ball', 'a blue ball')}
    """
    given = settings.get("goals") if isinstance(settings, dict) else None
    if isinstance(given, str | Path):
        goals, source = _read(given), str(given)
    elif isinstance(given, dict | Grammar):
        goals, source = _split(given, "goals"), "the grammar"
    else:
        return settings
    for key in goals.keys() - {"goals"}:
        if settings.get(key):
            raise GoalError(
                f"{key}: it is set both here and in {source}, expected once. Remove one of them."
            )
    return {**settings, **goals}


def _read(given: str | Path) -> dict[str, Any]:
    try:
        path = home_path(given)
        content = read_settings(path)
    except OSError as error:
        raise GoalError(
            f"goals: got {str(given)!r}, which cannot be read ({error.strerror}), expected a list "
            "of texts, a grammar, or the path of a YAML file. For a single goal, give a list with "
            "one text."
        ) from error
    except ConfigError as error:
        raise GoalError(f"goals: {error}") from error
    if isinstance(content, list):
        content = {"goals": content}
    if not isinstance(content, dict):
        raise GoalError(
            f"{path}: got {type(content).__name__}, expected a list of goals, a grammar, or "
            f"a mapping with the keys {[*GoalFile.model_fields]}."
        )
    if content.keys() & (Grammar.model_fields.keys() - {"goals"}):
        return _split(content, str(path))
    return _nonempty(_validate(GoalFile, content, str(path)))


def _split(grammar: dict[str, Any] | Grammar, where: str) -> dict[str, Any]:
    training, evaluation = _validate(Grammar, grammar, where).split
    return _nonempty(GoalFile(goals=training, evaluation_goals=evaluation))


def _nonempty(file: GoalFile) -> dict[str, Any]:
    return {key: goals for key, goals in file if goals}


def _validate(section: type[S], content: Any, where: str) -> S:
    try:
        return validated(section, content, where)
    except ConfigError as error:
        raise GoalError(str(error)) from error
