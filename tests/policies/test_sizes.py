"""Wrong settings of our modules are errors before training, not RLlib's a minute later."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from remedies import assert_helps

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.policies import (
    GoalConditionedModule,
    GoalConditionedQModule,
    GoalConditionedSACModule,
)

REWARD = VLMRewardConfig(
    encoder="small",
    goals=["the agent is carrying a {red|blue} ball"],
    frames={"source": "obs"},
    goal_embedding=True,
)
CONFIGS = {
    GoalConditionedModule: PPOConfig,
    GoalConditionedQModule: DQNConfig,
    GoalConditionedSACModule: SACConfig,
}


class Seen(gym.Env):
    """Shows frames of 56 × 48 pixels."""

    observation_space = gym.spaces.Box(0, 255, (56, 48, 3), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, config=None):
        pass


class Several(Seen):
    action_space = gym.spaces.MultiDiscrete([2, 2])


def built(module, model_config, env=Seen):
    spec = RLModuleSpec(module_class=module)
    config = CONFIGS[module]().environment(env).rl_module(rl_module_spec=spec)
    return add_vlm_reward(config.rl_module(model_config=model_config), REWARD)


def wrong():
    for key in ("patch_size", "channels", "hidden", "lstm_size", "max_seq_len"):
        for value in ("8", "many", 0, -8, True, 1.5, None, {}, float("nan")):
            yield key, value
    for value in ([], [0], [4, -2], [8, "2"], [True, 8], [[8]], 3, 16, [4, 4]):
        yield "patch_size", value
    yield from (("hiden", 64), ("patch_sizes", 8), ("spacial_actions", [1, 1]))
    yield from (("stacked_frames", True), ("spatial_actions", [2, 2]), ("goal_code", {"groups": 3}))


@pytest.mark.parametrize("module", CONFIGS)
def test_wrong_settings_are_errors_before_training(module):
    for key, value in wrong():
        with pytest.raises(ConfigError) as raised:
            built(module, {key: value})
        assert_helps(raised.value, key)


def test_keys_that_only_other_modules_read_are_refused():
    with pytest.raises(ConfigError, match="'fcnet_hiddens', which GoalConditionedModule does not"):
        built(GoalConditionedModule, {"fcnet_hiddens": [8]})
    with pytest.raises(ConfigError, match="which only RLlib's default modules read"):
        built(GoalConditionedModule, {"use_lstm": True})
    built(GoalConditionedModule, DefaultModelConfig())  # no value of these was given
    built(GoalConditionedQModule, {"head_fcnet_hiddens": [8]})


@pytest.mark.parametrize("module", CONFIGS)
def test_actions_that_a_module_does_not_take_are_an_error_before_training(module):
    with pytest.raises(ConfigError, match=r"got the action space MultiDiscrete"):
        built(module, {}, Several)


def test_good_settings_change_nothing_but_the_module():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for module in CONFIGS:
        for good in ({"patch_size": np.int64(4)}, {"patch_size": [4, 2], "stacked_frames": 2}):
            built(module, {"hidden": 8, "channels": 4, **good})
    assert torch.equal(torch.rand(3), expected)
