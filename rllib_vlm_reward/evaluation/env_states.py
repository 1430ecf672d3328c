"""The states of an env on a grid, rendered."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.connectors.frame_source import collect_frames
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.run_env import make_env

__all__ = ["Axis", "render_grid"]

_NAMES = {
    "CartPoleEnv": ("x", "x_dot", "theta", "theta_dot"),
    "MountainCarEnv": ("position", "velocity"),
    "Continuous_MountainCarEnv": ("position", "velocity"),
}


@dataclasses.dataclass(frozen=True)
class Axis:
    """One variable of the state, from ``low`` to ``high`` in ``number`` equal steps."""

    name: str
    low: float
    high: float
    number: int

    @classmethod
    def parse(cls, text: str) -> "Axis":
        """Read ``NAME=LOW:HIGH:NUMBER``.

        Raises:
            ConfigError: the text has another form.

        Example:
            >>> Axis.parse("theta=-1.5:1.5:3").values
            array([-1.5,  0. ,  1.5])
        """
        name, _, numbers = text.partition("=")
        try:
            low, high, number = numbers.split(":")
            axis = cls(name.strip(), float(low), float(high), int(number))
        except ValueError:
            axis = cls(name, np.nan, np.nan, 0)
        is_wide = axis.low < axis.high and np.isfinite(axis.high - axis.low)
        if not (is_wide and axis.number >= 2 and axis.name):
            raise ConfigError(
                f"grid: got {text!r}, expected NAME=LOW:HIGH:NUMBER with finite LOW < HIGH and at "
                "least two states, such as theta=-1.57:1.57:41. Correct --grid."
            )
        return axis

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The values, ascending, ``[number]``."""
        return np.linspace(self.low, self.high, self.number)


def render_grid(experiment: Experiment, axes: Sequence[Axis], *, seed: int = 0) -> Frames:
    """Render every state of a grid; the other variables keep their values after the reset.

    Args:
        experiment: a run with ``frames.source`` ``render``, whose env keeps its state as an
            array in ``env.unwrapped.state``, as gymnasium's classic control does.
        axes: A different variables: ``x``, ``x_dot``, ``theta``, ``theta_dot`` of CartPole,
            ``position`` and ``velocity`` of MountainCar; for other envs the variable's index.
        seed: seed of the reset.

    Returns:
        uint8 ``[N1, ..., NA, H, W, 3]``.

    Raises:
        ConfigError: the env has no such state, does not show a variable, or ``frames.source`` is
            not ``render``.
        FrameError: the env gives no frame.

    Example:
        >>> experiment = Experiment.from_yaml('''
        ... environment: {env: rllib_vlm_reward/Lift-v0}
        ... vlm_reward: {encoder: small, goals: ["go to the red {ball|box}"], frames: {source: obs}}
        ... stop: {env_steps: 1}
        ... ''')
        >>> render_grid(experiment, [Axis("x", -1.0, 1.0, 9)])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: grid: Lift keeps no array in `state` ...
    """
    vector_env = make_env(experiment)
    try:
        env = vector_env.envs[0]
        observation, info = env.reset(seed=seed)
        inner: Any = env.unwrapped
        places = _places(inner, axes)
        _check_source(experiment.vlm_reward.frames.source)
        state = np.array(inner.state, np.float64)
        frames = []
        for values in itertools.product(*(axis.values for axis in axes)):
            state[places] = values
            inner.state = state.copy()
            seen = collect_frames("render", vector_env, [0], [observation], [info])
            frames.append(np.array(seen[0]))
    finally:
        vector_env.close()
    stacked = np.stack(frames)
    grid = stacked.reshape(*(axis.number for axis in axes), *stacked.shape[1:])
    for number, axis in enumerate(axes):
        if (grid == grid.take([0], number)).all():
            raise ConfigError(
                f"grid: got the same frame for all {axis.number} values of {axis.name!r}, expected "
                f"a variable that render() of {type(inner).__name__} shows. Choose another one."
            )
    return grid


def _check_source(source: str) -> None:
    if source != "render":
        raise ConfigError(
            f"grid: got frames.source {source!r}, expected 'render', since observations do not "
            "change when a state is set. Set frames: {source: render}."
        )


def _places(env: Any, axes: Sequence[Axis]) -> list[int]:
    state = np.asarray(getattr(env, "state", None))
    if state.ndim != 1:
        raise ConfigError(
            f"grid: {type(env).__name__} keeps no array in `state` that could be set, expected an "
            "env such as gymnasium's classic control. Leave --grid out."
        )
    numbers = tuple(map(str, range(len(state))))
    names = _NAMES.get(type(env).__name__, numbers)
    wanted = [axis.name for axis in axes]
    place_of = {name: place for each in (numbers, names) for place, name in enumerate(each)}
    places = [place_of[name] for name in wanted if name in place_of]
    if len(set(places)) < len(wanted):
        raise ConfigError(
            f"grid: got {wanted}, expected different variables of {list(names)}, the state of "
            f"{type(env).__name__}. Correct --grid."
        )
    return places
