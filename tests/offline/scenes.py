"""A world whose observation is its frame: one colour, and a corner that no other frame has.

The corner counts the frames of all scenes in a process, so that a row of a learner's batch tells
which step it is.
"""

import itertools

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

GOALS = ("a red wall", "a blue wall", "a green wall")
ENV_REWARD = -100.0
LENGTHS = (3, 12)


class SceneEnv(gym.Env):
    """Episodes of 3 to 12 steps, half terminated, half truncated; the env names one of GOALS."""

    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)
    counter = itertools.count()

    def __init__(self, config):
        self.rng = np.random.default_rng(config.get("seed", 0) + next(SceneEnv.counter))
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        self.t = 0
        self.length = int(self.rng.integers(*LENGTHS, endpoint=True))
        return self._frame(), {"goal": GOALS[self.episode % len(GOALS)]}

    def step(self, action):
        self.t += 1
        over, even = self.t == self.length, self.length % 2 == 0
        return self._frame(), ENV_REWARD - self.t, over and even, over and not even, {"t": self.t}

    def _frame(self):
        frame = np.empty((16, 16, 3), np.uint8)
        frame[:] = self.rng.integers(0, 256, 3)
        count = next(SceneEnv.counter)
        frame[0, 0] = count >> 16 & 255, count >> 8 & 255, count & 255
        return frame


class SceneModule(TorchRLModule, ValueFunctionAPI):
    """Actor and critic on the frame's colour: RLlib 2.60's own CNN takes no uint8."""

    def setup(self):
        self.actor, self.critic = torch.nn.Linear(3, 2), torch.nn.Linear(3, 1)

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.actor(colour(batch))}

    def compute_values(self, batch, embeddings=None):
        return self.critic(colour(batch)).squeeze(-1)


def colour(batch):
    return batch[Columns.OBS][:, 1, 1].float() / 255


def key(frame):
    """Return what tells a frame from all others."""
    return tuple(np.asarray(frame)[0, 0].astype(int).tolist())
