import gymnasium as gym
import numpy as np
import pytest
import torch
from goal_inputs import ACTIONS, SPACE, observations, with_goals_flipped
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies import GoalConditionedQModule, GoalConditionedSACModule

BOX = gym.spaces.Box(-1, 1, (2,))


def build(config, module_class, actions=ACTIONS, inference_only=False, **model_config):
    torch.manual_seed(0)
    return module_class(
        observation_space=SPACE,
        action_space=actions,
        inference_only=inference_only,
        model_config=config.rl_module(model_config=model_config).model_config,
    )


def make_q(inference_only=False, hidden=16, **training):
    config = DQNConfig().training(**training)
    return build(config, GoalConditionedQModule, hidden=hidden, inference_only=inference_only)


def make_sac(**kwargs):
    return build(SACConfig(), GoalConditionedSACModule, hidden=16, **kwargs)


def transitions():
    return {"obs": observations(0), "new_obs": observations(1)}


def test_q_values_are_the_duel_of_two_heads_on_the_encoder_s_features():
    module, data = make_q(), {"obs": observations()}
    features = module.encoder(data)["encoder_out"]
    advantage, value = module.af(features), module.vf(features)
    expected = value + advantage - advantage.mean(1, keepdim=True)
    torch.testing.assert_close(module.compute_q_values(data)["qf_preds"], expected)
    assert features.shape == (5, 16)


def test_dqn_acts_greedily_without_exploration_and_by_its_goal():
    module, seen = make_q(), observations()
    q = module.compute_q_values({"obs": seen})["qf_preds"]
    assert torch.equal(module.forward_inference({"obs": seen})["actions"], q.argmax(1))
    flipped = module.compute_q_values({"obs": with_goals_flipped(seen)})["qf_preds"]
    assert not torch.allclose(q[0], flipped[0])
    torch.testing.assert_close(q[2], flipped[2])


@pytest.mark.parametrize("training", [{}, {"num_atoms": 5, "dueling": False}, {"double_q": False}])
def test_every_parameter_of_dqn_learns_and_no_target_does(training):
    module = make_q(**training)
    module.make_target_networks()
    out = module.forward_train(transitions())
    out["qf_preds"].square().sum().backward()
    for name, parameter in module.named_parameters():
        if name.startswith("_target"):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            assert parameter.grad.any(), name


def test_dqn_s_targets_look_at_the_next_frame_and_goal():
    module, data = make_q(), transitions()
    module.make_target_networks()
    expected = module.compute_q_values({"obs": data["new_obs"]})["qf_preds"]
    torch.testing.assert_close(module.forward_train(data)["qf_target_next_preds"], expected)


@pytest.mark.parametrize("make", [make_q, make_sac])
def test_an_env_runner_s_copy_acts_as_the_learner_s(make):
    learner, runner = make(), make(inference_only=True)
    learner.make_target_networks()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.01 * torch.arange(parameter.numel()).reshape(parameter.shape))
    runner.set_state(learner.get_state(inference_only=True))
    data = {"obs": observations()}
    (ours,) = runner.forward_inference(data).values()
    (theirs,) = learner.forward_inference(data).values()
    torch.testing.assert_close(ours, theirs)
    assert len(runner.state_dict()) < len(learner.state_dict())


def test_each_network_of_sac_has_an_encoder_of_its_own():
    module, data = make_sac(), transitions()
    module.make_target_networks()
    out = module.forward_train(data)
    expected = module.qf(module.qf_encoder(data)["encoder_out"])
    torch.testing.assert_close(out["qf_preds"], expected)
    for part in ("qf_preds", "qf_twin_preds", "action_probs"):
        out[part][:, 0].sum().backward()
    learning = {n.split(".")[0] for n, p in module.named_parameters() if p.grad is not None}
    assert learning == {"pi", "pi_encoder", "qf", "qf_encoder", "qf_twin", "qf_twin_encoder"}


def continuous_transitions():
    return {**transitions(), "actions": torch.rand(5, 2, generator=torch.manual_seed(2)) * 2 - 1}


def test_continuous_sac_rates_the_action_beside_what_is_seen():
    module, data = make_sac(actions=BOX), continuous_transitions()
    module.make_target_networks()
    out = module.forward_train(data)
    features = module.qf_encoder.trunk[0].in_features
    assert features == module.pi_encoder.trunk[0].in_features + 2
    other = {**data, "actions": -data["actions"]}
    assert not torch.allclose(module.compute_q_values(other), out["qf_preds"])
    flipped = {**data, "obs": with_goals_flipped(data["obs"])}
    assert not torch.allclose(module.compute_q_values(flipped)[0], out["qf_preds"][0])
    assert out["qf_preds"].shape == out["q_curr"].shape == out["q_target_next"].shape == (5,)


def test_every_parameter_of_continuous_sac_learns():
    module, data = make_sac(actions=BOX), continuous_transitions()
    module.make_target_networks()
    out = module.forward_train(data)
    (out["qf_preds"] + out["qf_twin_preds"] + out["q_curr"]).sum().backward()
    for name, parameter in module.named_parameters():
        assert name.startswith("target") or parameter.grad.any(), name


def test_continuous_sac_acts_within_its_bounds():
    module = make_sac(actions=BOX)
    out = module.forward_exploration({"obs": observations()})["action_dist_inputs"]
    actions = module.get_exploration_action_dist_cls().from_logits(100 * out).sample()
    assert actions.shape == (5, 2)
    assert actions.abs().max() <= 1


@pytest.mark.parametrize(
    "actions",
    [
        gym.spaces.Box(-np.inf, np.inf, (2,)),
        gym.spaces.Box(-1, 1, (2, 2)),
        gym.spaces.MultiDiscrete([2, 2]),
    ],
)
def test_sac_refuses_actions_without_bounds_or_of_another_shape(actions):
    with pytest.raises(ConfigError, match="expected Discrete or a bounded, one-dimensional Box"):
        make_sac(actions=actions)


def test_dqn_refuses_continuous_actions_and_names_who_takes_them():
    with pytest.raises(ConfigError, match="Use SAC with GoalConditionedSACModule"):
        build(DQNConfig(), GoalConditionedQModule, actions=BOX)


@pytest.mark.parametrize(
    ("config", "module_class"),
    [(DQNConfig(), GoalConditionedQModule), (SACConfig(), GoalConditionedSACModule)],
)
def test_replay_refuses_an_lstm_and_names_the_remedy(config, module_class):
    with pytest.raises(ConfigError, match=r"samples single steps.*Set stacked_frames"):
        build(config, module_class, memory="lstm")
