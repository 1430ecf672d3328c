"""Spaces and a batch as the goal-conditioned modules get them."""

import gymnasium as gym
import numpy as np
import torch

ACTIONS = gym.spaces.Discrete(4)
SPACE = gym.spaces.Dict(
    observation=gym.spaces.Box(0, 255, (24, 24, 3), np.uint8),
    goal=gym.spaces.Box(-1, 1, (6,), np.float32),
)


def observations(seed=0, size=5):
    rng = np.random.default_rng(seed)
    return {
        "observation": torch.from_numpy(rng.integers(0, 256, (size, 24, 24, 3), np.uint8)),
        "goal": torch.from_numpy(rng.standard_normal((size, 6), np.float32)),
    }


def with_goals_flipped(seen):
    return {**seen, "goal": seen["goal"].flip(0)}
