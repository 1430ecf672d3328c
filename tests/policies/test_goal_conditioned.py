import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, linear, relu

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.policies import GoalConditionedModule

ACTIONS = gym.spaces.Discrete(4)


def space(side=24, dim=6):
    return gym.spaces.Dict(
        observation=gym.spaces.Box(0, 255, (side, side, 3), np.uint8),
        goal=gym.spaces.Box(-1, 1, (dim,), np.float32),
    )


def make(**model_config):
    torch.manual_seed(0)
    return GoalConditionedModule(
        observation_space=space(), action_space=ACTIONS, model_config=model_config
    )


def batch(size=5, dim=6):
    rng = np.random.default_rng(0)
    return {
        "obs": {
            "observation": torch.from_numpy(rng.integers(0, 256, (size, 24, 24, 3), np.uint8)),
            "goal": torch.from_numpy(rng.standard_normal((size, dim), np.float32)),
        }
    }


def test_the_goal_scales_and_shifts_what_is_seen():
    module, data = make(), batch()
    frame, goal = data["obs"]["observation"], data["obs"]["goal"] * 6**0.5
    seen = conv2d(
        frame.float().movedim(-1, 1) / 127.5 - 1, module.patches.weight, module.patches.bias, 8
    )
    film = linear(goal, module.film.weight, module.film.bias)
    scale, shift = film[:, :32, None, None], film[:, 32:, None, None]
    mixed = conv2d(relu(seen * (1 + scale) + shift), module.mix.weight, module.mix.bias)
    features = module.trunk(torch.cat([relu(mixed).flatten(1), goal], 1))
    out = module.forward_exploration(data)
    torch.testing.assert_close(out["action_dist_inputs"], module.action(features))
    torch.testing.assert_close(module.compute_values(data), module.value(features)[:, 0])


def test_another_goal_is_another_policy_once_the_head_has_weights():
    module, data = make(), batch()
    torch.nn.init.normal_(module.action.weight)
    first = module.forward_inference(data)["action_dist_inputs"]
    data["obs"]["goal"] = data["obs"]["goal"].flip(0)
    second = module.forward_inference(data)["action_dist_inputs"]
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[2], second[2])  # the middle one kept its goal


def test_every_parameter_learns():
    module, data = make(channels=4, hidden=8), batch()
    torch.nn.init.normal_(module.action.weight)
    out = module.forward_train(data)
    (out["action_dist_inputs"].square().sum() + module.compute_values(data).sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_model_config_sizes_the_network():
    module = make(patch_size=4, channels=5, hidden=7)
    assert module.patches.weight.shape == (5, 3, 4, 4)
    assert module.action.weight.shape == (4, 7)


@pytest.mark.parametrize(
    ("observation_space", "error", "message"),
    [
        (gym.spaces.Box(0, 255, (24, 24, 3), np.uint8), GoalError, "goal_embedding: true"),
        (space(side=20), ValueError, "divisor"),
        (
            gym.spaces.Dict(
                observation=gym.spaces.Box(0, 1, (4,)), goal=gym.spaces.Box(0, 1, (4,))
            ),
            GoalError,
            "frame space",
        ),
    ],
)
def test_foreign_observations_are_refused(observation_space, error, message):
    with pytest.raises(error, match=message):
        GoalConditionedModule(observation_space=observation_space, action_space=ACTIONS)
