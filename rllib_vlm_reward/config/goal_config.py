"""How goals are given: in full, as a grammar, or in a file of their own."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from rllib_vlm_reward.errors import ConfigError, GoalError
from rllib_vlm_reward.goals import Goal, Grammar
from rllib_vlm_reward.settings import Section, read_settings, validated

__all__ = ["GoalConfig", "GoalFile", "TemplateConfig", "resolve_goals"]

S = TypeVar("S", bound=Section)


class TemplateConfig(Section):
    """A :class:`~rllib_vlm_reward.goals.Template` in YAML."""

    goal: str = "{}"
    prompt: str = "{}"
    nothing: str | None = None
    symmetric: bool = False
    family: str | None = None


class GoalConfig(Section):
    """A :class:`~rllib_vlm_reward.goals.Goal` in YAML; the template gives what is left out.

    Its negatives default to those drawn from the set.
    """

    text: str
    prompt: str | None = None
    negatives: tuple[str, ...] | None = None
    baseline: str | None = None
    family: Annotated[str, Field(min_length=1)] | None = None
    difficulty: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def complete(self, drawn: Goal) -> Goal:
        """Return the goal as its template and the set make it, but for what is given here."""
        return dataclasses.replace(
            drawn,
            negatives=drawn.negatives if self.negatives is None else self.negatives,
            baseline=drawn.baseline if self.baseline is None else self.baseline,
            family=drawn.family if self.family is None else self.family,
            difficulty=self.difficulty,
        )


class GoalFile(Section):
    """A YAML file of goals; its keys are those of VLMRewardConfig."""

    goals: Annotated[tuple[str | GoalConfig, ...], Field(min_length=1)]
    evaluation_goals: tuple[str | GoalConfig, ...] = ()
    templates: tuple[TemplateConfig, ...] = ()


def resolve_goals(settings: Any) -> Any:
    """Return the settings of a reward with their goals in full.

    Args:
        settings: those whose ``goals`` are a grammar, or the path of a file that holds a list of
            goals, a grammar, or the keys of :class:`GoalFile`. Others are returned as they are.

    Raises:
        GoalError: no such file, or other content; evaluation goals or templates that are given
            beside those that the goals bring.

    Example:
        >>> goals = {"goals": ["a {color} ball"], "words": {"color": ["red", "blue"]}}
        >>> resolve_goals({"encoder": "small", "goals": goals})
        {'encoder': 'small', 'goals': ('a red ball', 'a blue ball')}
    """
    given = settings.get("goals") if isinstance(settings, dict) else None
    if isinstance(given, str | Path):
        found, source = _read(Path(given)), str(given)
    elif isinstance(given, dict | Grammar):
        found, source = _split(given, "goals"), "the grammar"
    else:
        return settings
    for key in found.keys() - {"goals"}:
        if settings.get(key):
            raise GoalError(
                f"{key}: it is set both here and in {source}, expected once. Remove one of them."
            )
    return {**settings, **found}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_settings(path)
    except OSError as error:
        raise GoalError(
            f"goals: got {str(path)!r}, which cannot be read ({error.strerror}), expected a list "
            "of texts, a grammar, or the path of a YAML file. For a single goal give a list of one."
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
    return _given(_validate(GoalFile, content, str(path)))


def _split(grammar: dict[str, Any] | Grammar, where: str) -> dict[str, Any]:
    training, evaluation = _validate(Grammar, grammar, where).split
    return _given(GoalFile(goals=training, evaluation_goals=evaluation))


def _given(file: GoalFile) -> dict[str, Any]:
    return {key: goals for key, goals in file if goals}


def _validate(section: type[S], content: Any, where: str) -> S:
    try:
        return validated(section, content, where)
    except ConfigError as error:
        raise GoalError(str(error)) from error
