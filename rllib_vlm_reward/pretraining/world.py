"""An env that brings captions: how it is made, what it shows, and who plays it."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.envs.captions import Box, Captions
from rllib_vlm_reward.errors import ConfigError, LabelError
from rllib_vlm_reward.frames import Frames, check_each
from rllib_vlm_reward.goals import Template
from rllib_vlm_reward.settings import excerpt, load_object

__all__ = ["Shown", "World"]

RANDOM_SHARES = (1.0, 0.5, 0.2)
"""Shares of random actions; an episode has one of them. The other actions are the expert's."""

AGAIN = 0.3
"""How often a random action is the last one again, so that play leaves the place it starts at."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A frame, uint8 ``[H, W, 3]``, and what the env says about it; boxes if it has any."""

    frame: Frames
    captions: Captions
    boxes: tuple[Box, ...] = ()


class World:
    """A gymnasium env with a method ``captions()``, see :mod:`rllib_vlm_reward.envs.captions`.

    A frame is the observation if that is uint8 ``[H, W, 3]``, else ``env.render()``.

    Args:
        name: a gymnasium id, or the import path of a class or function, as in a run's YAML: an id
            takes ``env_config`` as keyword arguments, a class or function as its only argument.
        env_config: the env's settings.

    Attributes:
        templates: the env's ``templates``; none if it has no such attribute.
        has_boxes: whether the env has a method ``boxes()``.

    Raises:
        ConfigError: there is no such env, it cannot be made, or it has no ``captions()``.

    Example:
        >>> world = World("rllib_vlm_reward/Rooms-v0")
        >>> shown = list(world.play(seed=0, layout=0, steps=20))
        >>> len(shown), shown[0].frame.shape, sorted(shown[0].captions.true)
        (21, (56, 56, 3), ['find', 'lift', 'place'])
        >>> World("CartPole-v1")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: env CartPole-v1: it has no captions(), expected a \
method that returns rllib_vlm_reward.Captions of the present frame. Add it to the env's class.
    """

    def __init__(self, name: str, env_config: Mapping[str, Any] | None = None) -> None:
        self.env = _make(name, dict(env_config or {}))
        if not self.env.has_wrapper_attr("captions"):
            raise ConfigError(
                f"env {name}: it has no captions(), expected a method that returns "
                "rllib_vlm_reward.Captions of the present frame. Add it to the env's class."
            )
        self._name = name
        self._captions = self.env.get_wrapper_attr("captions")
        self.has_boxes = self.env.has_wrapper_attr("boxes")
        self._boxes = self.env.get_wrapper_attr("boxes") if self.has_boxes else tuple
        self._expert = (
            self.env.get_wrapper_attr("expert_action")
            if self.env.has_wrapper_attr("expert_action")
            else None
        )
        has_templates = self.env.has_wrapper_attr("templates")
        self.templates: dict[str, Template] = (
            dict(self.env.get_wrapper_attr("templates")) if has_templates else {}
        )

    def play(self, *, seed: int, layout: int, steps: int) -> Iterator[Shown]:
        """Play an episode, and yield what is shown after the reset and after each step.

        Some episodes are random play, and some that of the env's ``expert_action()``, if it has
        one, with random actions in between.

        Args:
            seed: seed of the actions.
            layout: seed of the reset.
            steps: the number of steps, unless the env ends the episode before.
        """
        rng, space = np.random.default_rng(seed), self.env.action_space
        space.seed(int(rng.integers(2**31)))
        share = 1.0 if self._expert is None else float(rng.choice(RANDOM_SHARES))
        observation, _ = self.env.reset(seed=layout)
        yield self._show(observation)
        action = space.sample()
        for _ in range(steps):
            if self._expert is not None and rng.random() >= share:
                action = self._expert()
            elif rng.random() >= AGAIN:
                action = space.sample()
            observation, _, terminated, truncated, _ = self.env.step(action)
            yield self._show(observation)
            if terminated or truncated:
                break

    def close(self) -> None:
        """Close the env."""
        self.env.close()  # type: ignore[no-untyped-call]

    def _show(self, observation: Any) -> Shown:
        frame: Any = observation if _is_frame(observation) else self.env.render()
        check_each([frame], source=f"env {self._name}")
        said = self._captions()
        if not isinstance(said, Captions):
            raise ConfigError(
                f"env {self._name}: captions() returned a {type(said).__name__}, expected "
                "rllib_vlm_reward.Captions. Return Captions(true, false, unclear)."
            )
        return Shown(frame, said, tuple(map(self._read_box, self._boxes())))

    def _read_box(self, given: Any) -> Box:
        """Return a box of plain numbers, since those of an env may be NumPy's."""
        with contextlib.suppress(TypeError, ValueError):
            name, *edges = given
            left, top, right, bottom = map(float, edges)
            are_shares = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            if isinstance(name, str) and are_shares:
                return Box(name, left, top, right, bottom)
        raise LabelError(
            f"env {self._name}: boxes() returned {excerpt(given)}, expected "
            "rllib_vlm_reward.Box(name, left, top, right, bottom) with shares of the frame's width "
            "and height from 0 to 1, left < right and top < bottom. Divide pixels by the frame's "
            "size, cut off what lies outside, and leave out what the frame does not show."
        )


def _is_frame(value: Any) -> bool:
    if not isinstance(value, np.ndarray):
        return False
    return value.dtype == np.uint8 and value.ndim == 3 and value.shape[-1] == 3


def _make(name: str, env_config: dict[str, Any]) -> gym.Env[Any, Any]:
    is_id = name in gym.registry or ":" in name
    if not is_id and "." not in name:
        raise ConfigError(
            f"env {name}: gymnasium knows no such id, expected one, such as MyRoom-v0 or "
            "my_package:MyRoom-v0, or an import path, such as my_package.MyRoom. Correct the name."
        )
    try:
        if not is_id:
            made: gym.Env[Any, Any] = load_object(name, "env")(env_config)
            return made
        settings = {"render_mode": "rgb_array", **env_config}
        # The checker would test each observation again.
        return gym.make(name, disable_env_checker=True, **settings)
    except (TypeError, ValueError, gym.error.Error) as error:
        raise ConfigError(
            f"env {name}: it cannot be made with {env_config} ({type(error).__name__}: {error}). "
            "Correct the name or the env_config."
        ) from error
