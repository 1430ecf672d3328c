"""The module for frames where RLlib has none, since its CNNs take no uint8."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.core.rl_module import RLModule

from rllib_vlm_reward.policies.goal_conditioned import GoalConditionedModule, is_flat_box
from rllib_vlm_reward.policies.replayed import GoalConditionedQModule, GoalConditionedSACModule
from rllib_vlm_reward.settings import declare_keys

__all__ = ["SETTINGS", "default_module", "frame_shape"]

SETTINGS = {
    *("hidden", "patch_size", "channels", "stacked_frames"),
    *("memory", "lstm_size", "max_seq_len", "spatial_actions"),
    "goal_code",
}
"""The keys of ``model_config`` that the modules of this package read."""
declare_keys("policy.model_config", SETTINGS)

_MODULES = {
    "PPO": GoalConditionedModule,
    "APPO": GoalConditionedModule,
    "IMPALA": GoalConditionedModule,
    "DQN": GoalConditionedQModule,
    "SAC": GoalConditionedSACModule,
}
_PATCH_SIZE, _LEAST_PATCH_SIZE, _MOST_PATCHES = 8, 5, 1024


def default_module(
    algorithm: str, observations: gym.Space[Any], actions: gym.Space[Any]
) -> tuple[type[RLModule], dict[str, Any]] | None:
    """Return a module for uint8 frames and their goal, and what its ``model_config`` needs.

    Args:
        algorithm: RLlib's name of the algorithm.
        observations: the env's observation space.
        actions: the env's action space.

    Returns:
        A module of this package, and its patch size if 8 does not fit the frames; None for other
        observations, and where no module of this package fits algorithm, actions and frames.

    Example:
        >>> frames = gym.spaces.Box(0, 255, (210, 160, 3), np.uint8)
        >>> module, model_config = default_module("PPO", frames, gym.spaces.Discrete(6))
        >>> module.__name__, model_config
        ('GoalConditionedModule', {'patch_size': 10})
        >>> default_module("PPO", gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)) is None
        True
    """
    module, shape = _MODULES.get(algorithm), frame_shape(observations)
    if module is None or shape is None:
        return None
    is_discrete = isinstance(actions, gym.spaces.Discrete)
    if not is_discrete and (module is GoalConditionedQModule or not is_flat_box(actions)):
        return None
    patch_size = _patch_size(*shape[:2])
    if patch_size is None:
        return None
    return module, {} if patch_size == _PATCH_SIZE else {"patch_size": patch_size}


def frame_shape(space: gym.Space[Any]) -> tuple[int, ...] | None:
    """Return the shape of a space of uint8 frames ``[H, W, C]``; None for another space.

    Example:
        >>> frame_shape(gym.spaces.Box(0, 255, (8, 6, 3), np.uint8))
        (8, 6, 3)
    """
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
        return space.shape
    return None


def _patch_size(height: int, width: int) -> int | None:
    """Return 8 or another divisor of both sides, with which there are not too many patches."""
    side = math.gcd(height, width)
    fits = [
        size
        for size in range(_LEAST_PATCH_SIZE, side + 1)
        if side % size == 0 and height * width <= _MOST_PATCHES * size * size
    ]
    return min(fits, key=lambda size: (size != _PATCH_SIZE, size), default=None)
