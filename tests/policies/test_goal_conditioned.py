import gymnasium as gym
import numpy as np
import pytest
import torch
from goal_inputs import ACTIONS, SPACE, observations, with_goals_flipped
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies import GoalConditionedModule

BOX = gym.spaces.Box(-1, 1, (2,))


def make(inference_only=False, actions=ACTIONS, **model_config):
    torch.manual_seed(0)
    module = GoalConditionedModule(
        observation_space=SPACE,
        action_space=actions,
        inference_only=inference_only,
        model_config=model_config,
    )
    torch.nn.init.normal_(module.action.weight)  # not its small initial weights
    return module


@pytest.mark.parametrize(
    "actions",
    [
        gym.spaces.MultiDiscrete([2, 2]),
        gym.spaces.Box(-1, 1, (2, 2)),
        gym.spaces.Box(0, 9, (2,), np.int64),
    ],
)
def test_other_action_spaces_are_refused(actions):
    with pytest.raises(ConfigError, match="expected Discrete or a one-dimensional Box of floats"):
        make(actions=actions)


def test_box_actions_are_drawn_from_one_gaussian_per_dimension():
    module, data = make(actions=BOX), {"obs": observations()}
    out = module.forward_exploration(data)["action_dist_inputs"]
    means, log_stds = module.action(module.encoder(data)["encoder_out"]).split(2, dim=1)
    distribution = module.get_exploration_action_dist_cls().from_logits(out)
    actions = distribution.sample()
    expected = torch.distributions.Normal(means, log_stds.exp()).log_prob(actions).sum(1)
    assert actions.shape == (5, 2)
    torch.testing.assert_close(distribution.logp(actions), expected)


def test_deviations_of_box_actions_stay_finite():
    module = make(actions=BOX)
    torch.nn.init.constant_(module.action.bias, 1e6)
    out = module.forward_exploration({"obs": observations()})["action_dist_inputs"]
    assert (out[:, :2] > 1e5).all()
    assert (out[:, 2:] == 20).all()


def test_actor_and_critic_are_linear_in_the_encoder_s_features():
    module, data = make(), {"obs": observations()}
    features = module.encoder(data)["encoder_out"]
    out = module.forward_exploration(data)
    torch.testing.assert_close(out["action_dist_inputs"], module.action(features))
    torch.testing.assert_close(module.compute_values(data), module.value(features)[:, 0])
    torch.testing.assert_close(
        module.compute_values(data, embeddings=out["embeddings"]), module.compute_values(data)
    )


def test_another_goal_is_another_policy():
    module, seen = make(), observations()
    first = module.forward_inference({"obs": seen})["action_dist_inputs"]
    second = module.forward_inference({"obs": with_goals_flipped(seen)})["action_dist_inputs"]
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[2], second[2])  # the middle one kept its goal


def test_every_parameter_learns():
    module, data = make(channels=4, hidden=8), {"obs": observations()}
    out = module.forward_train(data)
    (out["action_dist_inputs"].square().sum() + module.compute_values(data).sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_model_config_sizes_the_network():
    assert make(hidden=7).action.weight.shape == (4, 7)


@pytest.mark.parametrize("actions", [ACTIONS, BOX])
def test_the_targets_are_the_actor_as_it_was(actions):
    module, data = make(actions=actions), {"obs": observations()}
    before = module.forward_train(data)["action_dist_inputs"].detach()
    module.make_target_networks()
    with torch.no_grad():
        for parameter in (*module.encoder.parameters(), *module.action.parameters()):
            parameter.add_(0.1)
    assert not torch.allclose(module.forward_train(data)["action_dist_inputs"], before)
    target = module.forward_target(data)[TARGET_NETWORK_ACTION_DIST_INPUTS]
    torch.testing.assert_close(target, before)
    assert not target.requires_grad
    networks = [network for network, _ in module.get_target_network_pairs()]
    assert networks == [module.encoder, module.action]


def test_an_env_runner_s_copy_acts_as_the_learner_s_and_has_no_critic():
    learner, runner = make(), make(inference_only=True)
    learner.make_target_networks()
    with torch.no_grad():
        learner.action.weight.add_(torch.arange(4.0)[:, None])
    runner.set_state(learner.get_state(inference_only=True))
    data = {"obs": observations()}
    torch.testing.assert_close(
        runner.forward_inference(data)["action_dist_inputs"],
        learner.forward_inference(data)["action_dist_inputs"],
    )
    assert not hasattr(runner, "value")
    assert {name.split(".")[0] for name in runner.state_dict()} == {"encoder", "action"}
