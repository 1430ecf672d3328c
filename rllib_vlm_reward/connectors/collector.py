"""Collects what the encoder sees: the stepped sub-envs' frames, and the goals of their episodes."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError
from rllib_vlm_reward.frames import Frames, check_each
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.settings import load_object

__all__ = [
    "CheckedSource",
    "FrameSource",
    "RenderedOnce",
    "SteppedEnvs",
    "collect_frames",
    "episode_goal",
    "find_goal",
    "frame_source",
]

VectorEnv = gym.vector.VectorEnv[Any, Any, Any]
Infos = Sequence[Mapping[str, Any]]


class RenderedOnce:
    """Renders a vector step once, however many agents' rewards ask for its frames.

    Args:
        env: the vector env.
    """

    def __init__(self, env: VectorEnv) -> None:
        self.render_mode = env.render_mode
        self._env = env
        self._frames: Any = None

    @property
    def unwrapped(self) -> Any:
        """The vector env without its wrappers."""
        return self._env.unwrapped

    def render(self) -> Any:
        """Return the frames of all sub-envs."""
        if self._frames is None:
            self._frames = self._env.render()
        return self._frames


class SteppedEnvs:
    """Those B sub-envs of a vector env whose step is scored, in order.

    Args:
        env: the vector env of N sub-envs.
        rows: indices of the B sub-envs. With several agents one sub-env may stand here twice.

    Attributes:
        rows: as given.

    Example:
        >>> env = gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync")
        >>> stepped = SteppedEnvs(env, [0, 3])
        >>> len(stepped), stepped.get_attr("render_mode")
        (2, [None, None])
    """

    def __init__(self, env: "VectorEnv | RenderedOnce", rows: Sequence[int]) -> None:
        self.rows = rows
        self._env: Any = env

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def vector_env(self) -> Any:
        """The vector env of all N sub-envs, without its wrappers."""
        return self._env.unwrapped

    def render(self) -> list[Any]:
        """Return what the B sub-envs render; the whole vector env is asked once a step.

        Raises:
            FrameError: the env does not render arrays.
        """
        frames: Any = self._env.render() if self._env.render_mode == "rgb_array" else None
        if frames is None:
            raise FrameError(
                f"env.render(): got render_mode {self._env.render_mode!r}, expected 'rgb_array'. "
                'Create the env with render_mode="rgb_array" (for a gymnasium id: '
                'config.environment(env_config={"render_mode": "rgb_array"})), or set '
                "frames.source."
            )
        return [frames[row] for row in self.rows]

    def get_attr(self, name: str) -> list[Any]:
        """Return an attribute of the B sub-envs, also of those in other processes."""
        values = self.vector_env.get_attr(name)
        return [values[row] for row in self.rows]


Env = SteppedEnvs | None


class FrameSource(Protocol):
    """Where frames come from: ``(env, observations, infos) -> B frames``.

    A function or a class of this signature is a frame source too, named by its import path; a
    class is made once, without arguments. For a step of B sub-envs it is called with

    * ``env``: a :class:`SteppedEnvs`: it renders and is asked for these B sub-envs alone. None
      where recorded episodes are rewarded anew, which have no env;
    * ``observations``, ``infos``: B of each, in order: those of the sub-envs, or of the agents in
      a multi-agent env. An info may be changed: what alone the frame source needs can be popped;

    and returns B frames, uint8 ``[H, W, 3]`` of one size, in order. Under gymnasium's NEXT_STEP
    autoreset all that it is given shows the *terminal* state at the step that ends an episode; the
    reset comes one step later.
    """

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        """Return the B frames."""


class _Rendered:
    """What the sub-envs render."""

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        if env is None:
            raise FrameError(
                "frames.source 'render': there is no env to render. Set it to obs, obs:KEY "
                "or info:KEY."
            )
        return env.render()


@dataclasses.dataclass(frozen=True)
class _Observed:
    """The observations, or what they hold under a key."""

    key: str

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        return _look_up(observations, self.key, f"obs:{self.key}") if self.key else observations


@dataclasses.dataclass(frozen=True)
class _InInfos:
    """What the infos hold under a key."""

    key: str

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        return _look_up(infos, self.key, f"info:{self.key}")


@dataclasses.dataclass(frozen=True)
class _Called:
    """What a function or an object of the user's returns."""

    name: str
    function: FrameSource

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        try:
            frames = self.function(env, observations, infos)
        except Exception as error:
            raise FrameError(
                f"frames.source {self.name!r}: it failed ({type(error).__name__}: {error}). It is "
                "called with (env, observations, infos) and returns a list of frames; correct it."
            ) from error
        number = len(observations)
        if not isinstance(frames, (list, tuple, np.ndarray)) or len(frames) != number:
            sized = f" of length {len(frames)}" if hasattr(frames, "__len__") else ""
            raise FrameError(
                f"frames.source {self.name!r}: got {type(frames).__name__}{sized} for {number} "
                f"stepped envs, expected a list of {number} frames, uint8 [H, W, 3], in the order "
                "of the observations. Return one frame for each observation."
            )
        return list(frames)


@dataclasses.dataclass(frozen=True)
class CheckedSource:
    """A frame source whose frames are checked; see :func:`frame_source`.

    Attributes:
        collect: what it is.
        label: its name, for errors.
        reads_observations: it needs the observations.
        reads_infos: it needs the infos.
        info_key: under which key of the infos the frames are, if they are known to be there.
    """

    collect: FrameSource
    label: str
    reads_observations: bool = False
    reads_infos: bool = False
    info_key: str | None = None

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        """Return the B frames, not copied: the env may draw its next ones into the same memory.

        Raises:
            FrameError: there is no frame, or none that
                :func:`~rllib_vlm_reward.frames.check_each` accepts.
        """
        return check_each(self.collect(env, observations, infos), source=self.label)


@functools.cache
def frame_source(name: str) -> CheckedSource:
    """Return the frame source of a name, made once in a process.

    Args:
        name: ``render``, ``obs``, ``obs:KEY``, ``info:KEY``, or the import path of a
            :class:`FrameSource`.

    Raises:
        ConfigError: the import path leads nowhere, or to nothing that can be called.

    Example:
        >>> infos = [{"rgb": np.zeros((4, 4, 3), np.uint8)}] * 2
        >>> [frame.shape for frame in frame_source("info:rgb")(None, [None] * 2, infos)]
        [(4, 4, 3), (4, 4, 3)]
    """
    kind, _, key = name.partition(":")
    label = f"frames.source {name!r}"
    if kind == "render":
        return CheckedSource(_Rendered(), "env.render()")
    if kind == "obs":
        return CheckedSource(_Observed(key), label, reads_observations=True)
    if kind == "info":
        return CheckedSource(_InInfos(key), label, reads_infos=True, info_key=key)
    function = load_object(name, "frames.source")
    if not callable(function):
        raise ConfigError(
            f"frames.source: got {name!r}, which is of type {type(function).__name__}, expected a "
            "function or class that is called with (env, observations, infos). Correct the path."
        )
    called = _Called(name, function() if isinstance(function, type) else function)
    return CheckedSource(called, label, reads_observations=True, reads_infos=True)


def collect_frames(
    source: str,
    env: "VectorEnv | RenderedOnce | None",
    rows: Sequence[int],
    observations: Sequence[Any],
    infos: Infos,
) -> Sequence[Frames]:
    """Return the frames of the sub-envs ``rows``, not copied.

    Args:
        source: the name of a :func:`frame_source`.
        env: the vector env of N sub-envs; None where there is none.
        rows: B indices of sub-envs.
        observations: the B observations of these sub-envs.
        infos: the B infos of these sub-envs.

    Returns:
        B of uint8 ``[H, W, 3]``, in the order of ``rows``. The env may draw its next frames into
        the same memory.

    Raises:
        FrameError: the source gives no frame, or none that
            :func:`~rllib_vlm_reward.frames.check_each` accepts.
        ConfigError: see :func:`frame_source`.
    """
    stepped = None if env is None else SteppedEnvs(env, rows)
    return frame_source(source)(stepped, observations, infos)


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
expected one of goals while training. Let the training env draw from goals alone.
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
            "goals while training. Let the training env draw from goals alone."
        )
    return index


def _look_up(items: Sequence[Any], key: str, source: str) -> list[Any]:
    frames = []
    for item in items:
        try:
            frames.append(item[key])
        except (KeyError, IndexError, TypeError):
            raise FrameError(
                f"frames.source {source!r}: the env's step gave {_keys(item)}, expected the frame "
                f"under {key!r}. Put it there in every step, or set frames.source."
            ) from None
    return frames


def _keys(item: Any) -> str:
    return f"the keys {sorted(item)}" if isinstance(item, Mapping) else type(item).__name__
