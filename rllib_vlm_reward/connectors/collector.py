"""Collects what CLIP judges: the stepped sub-envs' frames, and the goals of their episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import FrameError, GoalError
from rllib_vlm_reward.frames import Frames, check_each
from rllib_vlm_reward.goals import GoalSet

__all__ = ["RenderedOnce", "collect_frames", "episode_goal", "find_goal"]


class RenderedOnce:
    """Renders a vector step once, however many agents' rewards ask for its frames.

    Args:
        env: the vector env.
    """

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self.render_mode = env.render_mode
        self._env = env
        self._frames: Any = None

    def render(self) -> Any:
        """Return the frames of all sub-envs."""
        if self._frames is None:
            self._frames = self._env.render()
        return self._frames


def collect_frames(
    source: str,
    env: gym.vector.VectorEnv[Any, Any, Any] | RenderedOnce | None,
    rows: Sequence[int],
    observations: Sequence[Any],
    infos: Sequence[Mapping[str, Any]],
) -> Sequence[Frames]:
    """Return the frames of the sub-envs ``rows``, not copied.

    Under gymnasium's NEXT_STEP autoreset all three sources show the *terminal* frame at the step
    that ends an episode; the reset comes one step later.

    Args:
        source: ``render``, ``obs``, ``obs:KEY`` or ``info:KEY``.
        env: the vector env, asked to render all its N sub-envs if the source is ``render``.
        rows: B indices of sub-envs.
        observations: the B observations of these sub-envs, for the ``obs`` sources.
        infos: their B infos, for the ``info`` source.

    Returns:
        B of uint8 ``[H, W, 3]``, in the order of ``rows``. The env may draw its next frames into
        the same memory.

    Raises:
        FrameError: the source gives no frame, or none that
            :func:`~rllib_vlm_reward.frames.check_each` accepts.

    Example:
        >>> import numpy as np
        >>> infos = [{"rgb": np.zeros((4, 4, 3), np.uint8)}] * 2
        >>> [frame.shape for frame in collect_frames("info:rgb", None, [0, 3], [None] * 2, infos)]
        [(4, 4, 3), (4, 4, 3)]
    """
    kind, _, key = source.partition(":")
    if kind == "render":
        assert env is not None
        return check_each(_render(env, rows), source="env.render()")
    items = observations if kind == "obs" else infos
    frames = [_look_up(item, key, source) for item in items] if key else items
    return check_each(frames, source=f"frame_source {source!r}")


def find_goal(source: str, goals: GoalSet, observation: Any, info: Mapping[str, Any]) -> int:
    """Return the index of the goal that an env names when it resets.

    Args:
        source: ``info:KEY`` or ``obs:KEY``; not read when there is a single goal.
        goals: the set that the index points into.
        observation: the reset observation.
        info: the reset info.

    Raises:
        GoalError: no text at ``source``, or one that is not in ``goals``.

    Example:
        >>> goals = GoalSet.from_texts(["a red ball", "a blue ball"])
        >>> find_goal("info:goal", goals, None, {"goal": "a blue ball"})
        1
    """
    if len(goals) == 1:
        return 0
    kind, _, key = source.partition(":")
    item = info if kind == "info" else observation
    try:
        text = item[key]
    except (KeyError, IndexError, TypeError):
        raise GoalError(
            f"goal_source {source!r}: the env's reset gave {_keys(item)}, expected the episode's "
            f"goal under {key!r}. Return it there, or set goal_source."
        ) from None
    return goals.index(str(text))


def episode_goal(
    config: VLMRewardConfig, observation: Any, info: Mapping[str, Any], *, evaluation: bool
) -> int:
    """Return the index in ``config.goal_set`` of the goal that an env names when it resets.

    Raises:
        GoalError: see :func:`find_goal`; also a held-out goal in training.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="small", goals=["a {red|blue} ball"], evaluation_goals=["a grey ball"]
        ... )
        >>> episode_goal(config, None, {"goal": "a grey ball"}, evaluation=True)
        2
        >>> episode_goal(config, None, {"goal": "a grey ball"}, evaluation=False)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'a grey ball': it is one of evaluation_goals, \
expected one of goals while training. Let the env of training draw from goals alone.
    """
    goals = config.goal_set if evaluation else config.training_goals
    try:
        index = find_goal(config.goal_source, config.goal_set, observation, info)
    except GoalError:
        if len(goals) > 1:
            raise
        return 0  # an env of one goal need not name it
    if index >= len(goals):
        raise GoalError(
            f"goal {config.goal_set[index].text!r}: it is one of evaluation_goals, expected one of "
            "goals while training. Let the env of training draw from goals alone."
        )
    return index


def _render(
    env: gym.vector.VectorEnv[Any, Any, Any] | RenderedOnce, rows: Sequence[int]
) -> list[Any]:
    frames: Any = env.render() if env.render_mode == "rgb_array" else None
    if frames is None:
        raise FrameError(
            f"env.render(): got render_mode {env.render_mode!r}, expected 'rgb_array'. Create the "
            'env with render_mode="rgb_array" (for a gymnasium id: '
            'config.environment(env_config={"render_mode": "rgb_array"})), or set frame_source.'
        )
    return [frames[row] for row in rows]


def _look_up(item: Any, key: str, source: str) -> Any:
    try:
        return item[key]
    except (KeyError, IndexError, TypeError):
        raise FrameError(
            f"frame_source {source!r}: the env's step gave {_keys(item)}, expected the frame "
            f"under {key!r}. Put it there in every step, or set frame_source."
        ) from None


def _keys(item: Any) -> str:
    return f"the keys {sorted(item)}" if isinstance(item, Mapping) else type(item).__name__
