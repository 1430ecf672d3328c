import gymnasium as gym
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from told import ACTIONS, SPACE, observations, with_goals_flipped

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.policies import GoalConditionedQModule, GoalConditionedSACModule


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


def test_sac_with_continuous_actions_is_refused():
    with pytest.raises(GoalError, match="expected a Discrete"):
        make_sac(actions=gym.spaces.Box(-1, 1, (2,)))
