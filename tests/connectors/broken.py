"""Painted worlds that break a contract."""

import time

import gymnasium as gym
import numpy as np
from painted import PaintedEnv


class SilentEnv(PaintedEnv):
    """Renders nothing."""

    def __init__(self, config):
        super().__init__({**config, "render_mode": None})


class FloatEnv(PaintedEnv):
    def render(self):
        return super().render() / 255.0


class GreyEnv(PaintedEnv):
    def render(self):
        return super().render()[..., 0]


class PictureEnv(PaintedEnv):
    """Observes uint8 frames, which RLlib's default CNN does not take."""

    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

    def _show(self):
        _, info = super()._show()
        return np.zeros((64, 64, 3), np.uint8), info


class UnevenEnv(PaintedEnv):
    """Each sub-env renders a size of its own."""

    def render(self):
        return np.zeros((8 + self.id % 64, 8, 3), np.uint8)


class StrangerEnv(PaintedEnv):
    """Names a goal that is not in the set."""

    first = 1

    def _show(self):
        observation, info = super()._show()
        if self.episode >= self.first:
            info["goal"] = "a yellow wall"
        return observation, info


class LateStrangerEnv(StrangerEnv):
    """Names it in training, not at the build."""

    first = 4


class SlowEnv(PaintedEnv):
    def step(self, action):
        time.sleep(0.1)
        return super().step(action)


class TextSuccessEnv(PaintedEnv):
    """Returns success as a text."""

    def step(self, action):
        *result, info = super().step(action)
        return *result, {**info, "success": str(info["success"])}


class NaNEnv(PaintedEnv):
    """Its reward is NaN from step ``first`` on."""

    first = 1

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, float("nan") if self.t >= self.first else reward, *rest


class LateNaNEnv(NaNEnv):
    first = 2


class RaisingEnv(PaintedEnv):
    """Raises the user's own mistake in the fourth step of an episode, after the build's check."""

    def step(self, action):
        if self.t == 3:
            raise KeyError("the user's own mistake")
        return super().step(action)
