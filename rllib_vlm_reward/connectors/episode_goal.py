"""The goal of an episode, which the env names when it resets."""

from collections.abc import Mapping
from typing import Any

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.frame_source import keys_of
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import GoalSet

__all__ = ["episode_goal", "find_goal", "goal_text", "ignored_goal"]


def find_goal(source: str, goals: GoalSet, observation: Any, info: Mapping[str, Any]) -> int:
    """Return the index of the goal that an env names when it resets.

    Args:
        source: ``info:KEY`` or ``obs:KEY``; ignored when there is a single goal.
        goals: the goal set of the index.
        observation: the reset observation.
        info: the reset info.

    Raises:
        GoalError: there is no text at ``source``, or the text is not in ``goals``.

    Example:
        >>> goals = GoalSet.from_texts(["a red ball", "a blue ball"])
        >>> find_goal("info:goal", goals, None, {"goal": "a blue ball"})
        1
    """
    return 0 if len(goals) == 1 else goals.index(goal_text(source, observation, info))


def goal_text(source: str, observation: Any, info: Mapping[str, Any]) -> str:
    """Return the text of the goal that an env names when it resets.

    Args:
        source: ``info:KEY`` or ``obs:KEY``.
        observation: the reset observation.
        info: the reset info.

    Raises:
        GoalError: there is none at ``source``.

    Example:
        >>> goal_text("obs:mission", {"mission": "a red ball"}, {})
        'a red ball'
    """
    kind, _, key = source.partition(":")
    item = info if kind == "info" else observation
    try:
        return str(item[key])
    except (KeyError, IndexError, TypeError):
        raise GoalError(
            f"goal_source {source!r}: the env's reset returned {keys_of(item)}, expected the "
            f"episode's goal under {key!r}. Return it there, or change goal_source."
        ) from None


def episode_goal(
    known: KnownGoals, observation: Any, info: Mapping[str, Any], *, evaluation: bool
) -> int:
    """Return the index in ``known.all`` of the goal that an env names when it resets.

    Raises:
        GoalError: see :func:`find_goal`; or a training env names a held-out goal.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="small", goals=["a {red|blue} ball"], evaluation_goals=["a grey ball"]
        ... )
        >>> known = KnownGoals(config)
        >>> episode_goal(known, None, {"goal": "a grey ball"}, evaluation=True)
        2
        >>> episode_goal(known, None, {"goal": "a grey ball"}, evaluation=False)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'a grey ball': got one of evaluation_goals, \
expected one of goals in training. Let the training env use only texts of goals.
    """
    goals = known.all if evaluation else known.training
    try:
        index = find_goal(known.config.goal_source, known.all, observation, info)
    except GoalError:
        if len(goals) > 1:
            raise
        return 0  # with a single goal the env does not have to name it
    if not evaluation and not known.is_training(index):
        raise GoalError(
            f"goal {known.all[index].text!r}: got one of evaluation_goals, expected one of "
            "goals in training. Let the training env use only texts of goals."
        )
    return index


def ignored_goal(config: VLMRewardConfig, observation: Any, info: Mapping[str, Any]) -> str | None:
    """Return a warning if a training env names another goal than the only one that is configured.

    Args:
        config: the reward.
        observation: the reset observation.
        info: the reset info.

    Returns:
        The warning, with both goals; None if there are several goals, or the env names none.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a red ball"], negatives=["a room"])
        >>> print(ignored_goal(config, None, {"goal": "a blue key"}))
        goal: the env asks for 'a blue key', but the reward has the single goal 'a red ball', so \
every episode is rewarded for it. Add the env's goals to `goals`, or ignore this if it is meant.
        >>> ignored_goal(config, None, {})
    """
    if len(config.training_goals) > 1:
        return None
    kind, _, key = config.goal_source.partition(":")
    try:
        named = (info if kind == "info" else observation)[key]
    except (KeyError, IndexError, TypeError):
        return None
    text = config.training_goals[0].text
    if str(named) == text:
        return None
    return (
        f"goal: the env asks for {str(named)!r}, but the reward has the single goal {text!r}, so "
        "every episode is rewarded for it. Add the env's goals to `goals`, or ignore this if it "
        "is meant."
    )
