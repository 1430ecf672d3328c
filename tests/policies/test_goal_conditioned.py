import gymnasium as gym
import pytest
import torch
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS
from told import ACTIONS, SPACE, observations, with_goals_flipped

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.policies import GoalConditionedModule


def make(inference_only=False, **model_config):
    torch.manual_seed(0)
    module = GoalConditionedModule(
        observation_space=SPACE,
        action_space=ACTIONS,
        inference_only=inference_only,
        model_config=model_config,
    )
    torch.nn.init.normal_(module.action.weight)  # not its small initial weights
    return module


def test_actions_that_are_not_discrete_are_refused():
    with pytest.raises(GoalError, match="expected Discrete"):
        GoalConditionedModule(observation_space=SPACE, action_space=gym.spaces.Box(-1, 1, (2,)))


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


def test_the_targets_are_the_actor_as_it_was():
    module, data = make(), {"obs": observations()}
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
