"""Which module a run of uint8 frames has by default."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_vlm_reward.policies import (
    GoalConditionedModule,
    GoalConditionedQModule,
    GoalConditionedSACModule,
    default_module,
)

DISCRETE = gym.spaces.Discrete(3)
CONTINUOUS = gym.spaces.Box(-1, 1, (2,), np.float32)


def frames(*shape, dtype=np.uint8):
    return gym.spaces.Box(0, 255, shape, dtype)


@pytest.mark.parametrize(
    ("algorithm", "actions", "module"),
    [
        ("PPO", DISCRETE, GoalConditionedModule),
        ("PPO", CONTINUOUS, GoalConditionedModule),
        ("APPO", DISCRETE, GoalConditionedModule),
        ("IMPALA", DISCRETE, GoalConditionedModule),
        ("DQN", DISCRETE, GoalConditionedQModule),
        ("SAC", DISCRETE, GoalConditionedSACModule),
        ("SAC", CONTINUOUS, GoalConditionedSACModule),
    ],
)
def test_each_algorithm_has_its_own(algorithm, actions, module):
    assert default_module(algorithm, frames(64, 64, 3), actions) == (module, {})


@pytest.mark.parametrize(
    ("algorithm", "observations", "actions"),
    [
        ("PPO", frames(64, 64, 3, dtype=np.float32), DISCRETE),  # RLlib's CNN takes these
        ("PPO", frames(64), DISCRETE),
        ("PPO", gym.spaces.Dict(rgb=frames(64, 64, 3)), DISCRETE),
        ("PPO", frames(64, 64, 3), gym.spaces.MultiDiscrete([2, 2])),
        ("PPO", frames(4, 84, 84), DISCRETE),  # channels first
        ("PPO", frames(97, 101, 3), DISCRETE),  # no patch divides them
        ("DQN", frames(64, 64, 3), CONTINUOUS),
        ("MARWIL", frames(64, 64, 3), DISCRETE),
    ],
)
def test_there_is_none_where_none_fits(algorithm, observations, actions):
    assert default_module(algorithm, observations, actions) is None


@pytest.mark.parametrize(
    ("height", "width", "patch_size"),
    [(96, 96, 8), (210, 160, 10), (84, 84, 6), (56, 56, 8), (480, 640, 20), (400, 600, 20)],
)
def test_patches_divide_the_frame_and_are_not_too_many(height, width, patch_size):
    module, needed = default_module("PPO", frames(height, width, 3), DISCRETE)
    assert needed == ({} if patch_size == 8 else {"patch_size": patch_size})
    goal = gym.spaces.Box(-1, 1, (4,), np.float32)
    space = gym.spaces.Dict(observation=frames(height, width, 3), goal=goal)
    made = module(observation_space=space, action_space=DISCRETE, model_config=needed)
    batch = {"observation": torch.zeros(1, height, width, 3), "goal": torch.zeros(1, 4)}
    assert made.forward_inference({"obs": batch})["action_dist_inputs"].shape == (1, 3)
