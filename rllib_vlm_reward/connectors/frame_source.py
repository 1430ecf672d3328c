"""Where frames come from: the built-in sources, and functions of your own."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from ray.rllib.env.vector.vector_multi_agent_env import VectorMultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv

from rllib_vlm_reward.errors import ConfigError, FrameError
from rllib_vlm_reward.frames import Frames, check_each
from rllib_vlm_reward.settings import load_object

__all__ = [
    "CheckedSource",
    "FrameSource",
    "RenderedOnce",
    "SteppedEnvs",
    "collect_frames",
    "frame_source",
    "keys_of",
]

VectorEnv = gym.vector.VectorEnv[Any, Any, Any]
Infos = Sequence[Mapping[str, Any]]


class RenderedOnce:
    """Renders a vector step once, even if the rewards of several agents need its frames.

    Args:
        env: the vector env.
    """

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self._frames: Any = None

    @property
    def unwrapped(self) -> Any:
        """The vector env without its wrappers."""
        return self._env.unwrapped

    def render(self) -> Any:
        """Return what the vector env renders: normally one frame for each sub-env.

        Raises:
            FrameError: the env does not render arrays.
        """
        if self._frames is None:
            self._frames = self._render()
        return self._frames

    def _render(self) -> Any:
        inner = _pettingzoo_envs(self._env)
        mode = getattr(inner[0], "render_mode", None) if inner else self._env.render_mode
        frames: Any = None
        if mode == "rgb_array":
            frames = [env.render() for env in inner] if inner else self._env.render()
        if frames is not None:
            return frames
        if inner:
            remedy = (
                'make the PettingZoo env with render_mode="rgb_array", before RLlib\'s wrapper, as '
                'in ParallelPettingZooEnv(my_env.parallel_env(render_mode="rgb_array")).'
            )
        else:
            remedy = (
                'let the env set self.render_mode = "rgb_array", or pass '
                'env_config={"render_mode": "rgb_array"} to config.environment() and let the env '
                "take it from there."
            )
        raise FrameError(
            f"env.render(): got render_mode {mode!r}, expected 'rgb_array'. If the observation is "
            f"the frame, set frames.source to obs or obs:KEY. Otherwise {remedy}"
        )


def _pettingzoo_envs(env: VectorEnv) -> list[Any]:
    """Return the PettingZoo envs in RLlib's wrappers, if the sub-envs are such wrappers.

    RLlib 2.60's wrappers hide the env's render_mode, and their render() passes an argument that
    PettingZoo's does not take.
    """
    if not isinstance(env.unwrapped, VectorMultiAgentEnv):
        return []
    attributes = {PettingZooEnv.render: "env", ParallelPettingZooEnv.render: "par_env"}
    sub_envs = [each.unwrapped for each in env.unwrapped.envs or ()]  # below OrderEnforcing
    names = [attributes.get(type(sub_env).render, "") for sub_env in sub_envs]
    if "" in names:
        return []
    return [getattr(*each) for each in zip(sub_envs, names, strict=True)]


class SteppedEnvs:
    """The B sub-envs of a vector env whose steps are scored, in order.

    Args:
        env: the vector env of N sub-envs.
        rows: indices of the B sub-envs. With several agents an index may occur several times.

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
        self._env = env if isinstance(env, RenderedOnce) else RenderedOnce(env)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def vector_env(self) -> Any:
        """The vector env of all N sub-envs, without its wrappers."""
        return self._env.unwrapped

    def render(self) -> list[Any]:
        """Return the B rendered frames. The vector env renders only once in a step.

        Raises:
            FrameError: the env does not render arrays.
        """
        frames = self._env.render()
        return [frames[row] for row in self.rows]

    def get_attr(self, name: str) -> list[Any]:
        """Return an attribute of each of the B sub-envs, also if they run in other processes."""
        values = self.vector_env.get_attr(name)
        return [values[row] for row in self.rows]


Env = SteppedEnvs | None


class FrameSource(Protocol):
    """A frame source: ``(env, observations, infos) -> B frames``.

    To use your own, set ``frames.source`` to the import path of a function or class with this
    signature. A class is instantiated once, without arguments. For a step of B sub-envs the source
    receives

    * ``env``: a :class:`SteppedEnvs`, which renders these B sub-envs and reads their attributes.
      It is None when recorded episodes are relabelled, since these have no env;
    * ``observations``, ``infos``: B of each, in order: one for each sub-env, or for each agent in
      a multi-agent env. The source may change an info, for example pop a frame that only the
      source needs;

    and returns B frames, uint8 ``[H, W, 3]`` of one size, in the same order. With gymnasium's
    NEXT_STEP autoreset, the arguments show the *terminal* state at the step that ends an episode;
    the reset comes one step later.
    """

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        """Return the B frames."""


class _Rendered:
    """The frames that the sub-envs render: ``render``."""

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        if env is None:
            raise FrameError(
                "frames.source: got 'render', but there is no env to render. Set frames.source to "
                "obs, obs:KEY or info:KEY."
            )
        return env.render()


@dataclasses.dataclass(frozen=True)
class _Observed:
    """The observations, ``obs``, or an entry of them, ``obs:KEY``."""

    key: str

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        return _look_up(observations, self.key, f"obs:{self.key}") if self.key else observations


@dataclasses.dataclass(frozen=True)
class _InInfos:
    """An entry of the infos: ``info:KEY``."""

    key: str

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        return _look_up(infos, self.key, f"info:{self.key}")


@dataclasses.dataclass(frozen=True)
class _Called:
    """The frames that a user's function or object returns."""

    name: str
    function: FrameSource

    def __call__(self, env: Env, observations: Sequence[Any], infos: Infos) -> Sequence[Frames]:
        try:
            frames = self.function(env, observations, infos)
        except Exception as error:
            raise FrameError(
                f"frames.source {self.name!r}: the call failed ({type(error).__name__}: {error}). "
                "Correct the function: it takes (env, observations, infos) and returns a list of "
                "frames."
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
    """A frame source that checks its frames; see :func:`frame_source`.

    Attributes:
        collect: the unchecked frame source.
        label: the name of the source, for errors.
        reads_observations: whether the source reads the observations.
        reads_infos: whether the source reads the infos.
        info_key: the key of the infos that holds the frames; None for the other sources.
    """

    collect: FrameSource
    label: str
    reads_observations: bool = False
    reads_infos: bool = False
    info_key: str | None = None

    def __call__(
        self,
        env: Env,
        observations: Sequence[Any],
        infos: Infos,
        name: Callable[[int], str] | None = None,
    ) -> Sequence[Frames]:
        """Return the B frames without a copy: the env may reuse their memory in the next step.

        Args:
            env: see :class:`FrameSource`.
            observations: see :class:`FrameSource`.
            infos: see :class:`FrameSource`.
            name: returns the name of the frame at an index, for errors.

        Raises:
            FrameError: the source fails, gives no frame, or gives frames that
                :func:`~rllib_vlm_reward.frames.check_each` refuses.
        """
        return check_each(self.collect(env, observations, infos), source=self.label, name=name)


@functools.cache
def frame_source(name: str) -> CheckedSource:
    """Return the frame source with this name; each process creates it once.

    Args:
        name: ``render``, ``obs``, ``obs:KEY``, ``info:KEY``, or the import path of a
            :class:`FrameSource`.

    Raises:
        ConfigError: the import path does not exist, or names an object that cannot be called.

    Example:
        >>> infos = [{"rgb": np.zeros((4, 4, 3), np.uint8)}] * 2
        >>> [frame.shape for frame in frame_source("info:rgb")(None, [None] * 2, infos)]
        [(4, 4, 3), (4, 4, 3)]
    """
    kind, _, key = name.partition(":")  # FrameConfig._KINDS says which kinds there are
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
            "function or class that takes (env, observations, infos). Correct the path."
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
    """Return the frames of the sub-envs ``rows``, without a copy.

    Args:
        source: the name of a :func:`frame_source`.
        env: the vector env of N sub-envs; None if there is no env.
        rows: B indices of sub-envs.
        observations: the B observations of these sub-envs.
        infos: the B infos of these sub-envs.

    Returns:
        B frames, each uint8 ``[H, W, 3]``, in the order of ``rows``. The env may reuse their
        memory in the next step.

    Raises:
        FrameError: the source fails, gives no frame, or gives frames that
            :func:`~rllib_vlm_reward.frames.check_each` refuses.
        ConfigError: see :func:`frame_source`.
    """
    stepped = None if env is None else SteppedEnvs(env, rows)
    return frame_source(source)(stepped, observations, infos)


def _look_up(items: Sequence[Any], key: str, source: str) -> list[Any]:
    frames = []
    for item in items:
        try:
            frames.append(item[key])
        except (KeyError, IndexError, TypeError):
            raise FrameError(
                f"frames.source {source!r}: the env's step returned {keys_of(item)}, expected the "
                f"frame under {key!r}. Return it there in every step, or change frames.source."
            ) from None
    return frames


def keys_of(item: Any) -> str:
    """Return what an observation or info holds, for errors.

    Example:
        >>> keys_of({"rgb": 0, "goal": 1}), keys_of(0.5)
        ("the keys ['goal', 'rgb']", 'float')
    """
    return f"the keys {sorted(item)}" if isinstance(item, Mapping) else type(item).__name__
