"""Actions at places of the frame: their numbers come from the patches there, by shared weights."""

import gymnasium as gym
import pytest
import torch
from goal_inputs import SPACE, observations
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from torch.nn.functional import cross_entropy

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies import (
    GoalConditionedModule,
    GoalConditionedQModule,
    GoalConditionedSACModule,
)
from rllib_vlm_reward.policies.memory import RecurrentEncoder

# 24 × 24 pixels are 6 × 6 patches, and each of 3 × 2 places has 2 × 3 of them.
GRID = {"spatial_actions": [3, 2], "patch_size": 4, "hidden": 16}
LSTM = {"memory": "lstm", "lstm_size": 8}


def fresh(actions=8, **model_config):
    torch.manual_seed(0)
    return GoalConditionedModule(
        observation_space=SPACE,
        action_space=gym.spaces.Discrete(actions),
        model_config=GRID | model_config,
    )


def make(**kwargs):
    """A module with larger weights than its initial ones, with which places are nearly alike."""
    module = fresh(**kwargs)
    encoder = module.encoder
    places = (encoder.film if isinstance(encoder, RecurrentEncoder) else encoder).places
    torch.nn.init.normal_(places.score.weight)
    return module


def make_replayed(config, module_class, actions=8, **model_config):
    torch.manual_seed(0)
    return module_class(
        observation_space=SPACE,
        action_space=gym.spaces.Discrete(actions),
        model_config=config.rl_module(model_config=GRID | model_config).model_config,
    )


def seen_patches(encoder, seen):
    """The features of the patches, float32 [N, channels, 6, 6]."""
    kept = []
    hook = encoder.mix.register_forward_hook(lambda *call: kept.append(torch.relu(call[-1])))
    encoder({"obs": seen})
    hook.remove()
    return kept[0]


def recounted(encoder, seen):
    """The scores of the places, place by place."""
    first, last = encoder.places.mix, encoder.places.score
    patches, scores = seen_patches(encoder, seen), []
    for row in range(3):
        for column in range(2):
            there = patches[:, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            mean = there.sum((2, 3)) / 6
            inner = torch.relu(mean @ first.weight[:, :, 0, 0].T + first.bias)
            scores.append(inner @ last.weight[0, :, 0, 0] + last.bias)
    return torch.stack(scores, 1)


def test_the_first_logits_are_the_places_row_by_row_and_the_others_dense():
    module, seen = make(), observations()
    logits = module.forward_inference({"obs": seen})["action_dist_inputs"]
    assert logits.shape == (5, 8)
    torch.testing.assert_close(logits[:, :6], recounted(module.encoder, seen))
    features = module.encoder({"obs": seen})["encoder_out"]
    torch.testing.assert_close(logits[:, 6:], module.action.others(features))


def test_all_actions_may_be_places():
    module, seen = make(actions=6), observations()
    logits = module.forward_inference({"obs": seen})["action_dist_inputs"]
    torch.testing.assert_close(logits, recounted(module.encoder, seen))


def test_at_first_all_places_are_alike():
    logits = fresh().forward_inference({"obs": observations()})["action_dist_inputs"]
    assert logits.softmax(1).max() < 1.1 / 8


def painted(places, shade):
    """Black frames, each with a square of the shade at one of the places."""
    frames = torch.zeros(len(places), 24, 24, 3, dtype=torch.uint8)
    for frame, place in zip(frames, places.tolist(), strict=True):
        row, column = divmod(place, 2)
        frame[8 * row + 2 : 8 * row + 6, 12 * column + 4 : 12 * column + 8] = shade
    return frames


def test_what_is_learned_at_some_places_holds_at_others():
    """Trained on the first two rows, the policy finds its goal's shade in the third."""
    module = fresh()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.003)
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6), torch.arange(2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]  # a white square, a grey one, which is the goal
    white, grey, goal = pairs.T
    frames = torch.maximum(painted(white, 255), painted(grey, 120))
    seen = {"observation": frames, "goal": torch.nn.functional.one_hot(goal, 6).float()}
    targets = torch.where(goal == 0, white, grey)
    taught = (pairs[:, :2] < 4).all(1)
    for _ in range(150):
        logits = module.forward_train({"obs": {key: it[taught] for key, it in seen.items()}})
        loss = cross_entropy(logits["action_dist_inputs"], targets[taught])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    places = module.forward_inference({"obs": seen})["action_dist_inputs"][:, :6]
    assert torch.equal(places.argmax(1), targets)


def test_every_parameter_learns():
    module = make(channels=4, hidden=8)
    out = module.forward_train({"obs": observations()})
    values = module.compute_values({"obs": observations()})
    (out["action_dist_inputs"].square().sum() + values.sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_the_q_values_of_places_are_the_duel_s_advantages():
    module = make_replayed(DQNConfig(), GoalConditionedQModule)
    data = {"obs": observations()}
    features = module.encoder(data)["encoder_out"]
    advantages = torch.cat(
        [recounted(module.encoder, data["obs"]), module.af.others(features)], dim=1
    )
    expected = module.vf(features) + advantages - advantages.mean(1, keepdim=True)
    torch.testing.assert_close(module.compute_q_values(data)["qf_preds"], expected)


def test_every_parameter_of_dqn_learns_and_no_target_does():
    module = make_replayed(DQNConfig(), GoalConditionedQModule)
    module.make_target_networks()
    data = {"obs": observations(0), "new_obs": observations(1)}
    out = module.forward_train(data)
    expected = module.compute_q_values({"obs": data["new_obs"]})["qf_preds"]
    torch.testing.assert_close(out["qf_target_next_preds"], expected)
    out["qf_preds"].square().sum().backward()
    for name, parameter in module.named_parameters():
        if name.startswith("_target"):
            assert parameter.grad is None
        else:
            assert parameter.grad.any(), name


def test_all_actions_of_dqn_may_be_places():
    module = make_replayed(DQNConfig().training(dueling=False), GoalConditionedQModule, actions=6)
    q = module.compute_q_values({"obs": observations()})["qf_preds"]
    torch.testing.assert_close(q, recounted(module.encoder, observations()))


def test_an_lstm_remembers_for_the_other_actions_only():
    module = make(**LSTM)
    seen = {key: value[:, None].repeat_interleave(3, 1) for key, value in observations().items()}
    state = {key: value.repeat(5, 1) for key, value in module.get_initial_state().items()}
    logits = module.forward_train({"obs": seen, "state_in": state})["action_dist_inputs"]
    expected = recounted(module.encoder.film, observations())
    for step in range(3):
        torch.testing.assert_close(logits[:, step, :6], expected)
    assert not torch.allclose(logits[:, 0, 6:], logits[:, 2, 6:])


@pytest.mark.parametrize("grid", [[3], [3, 0], [3, 2.0], [True, 2], "32", 6])
def test_another_form_of_grid_is_refused(grid):
    with pytest.raises(ConfigError, match=r"expected the numbers of rows and columns.*\[8, 4\]"):
        make(spatial_actions=grid)


def test_more_places_than_actions_or_patches_are_refused():
    with pytest.raises(ConfigError, match="expected Discrete with at least 6 actions"):
        make(actions=5)
    with pytest.raises(ConfigError, match="expected Discrete with at least 6 actions"):
        make_replayed(DQNConfig(), GoalConditionedQModule, actions=5)
    with pytest.raises(ConfigError, match=r"got \[3, 7\], expected at most \[6, 6\]"):
        make(spatial_actions=[3, 7], actions=21)
    with pytest.raises(ConfigError, match=r"got \[3, 2\], expected at most \[2, 2\]"):
        make_replayed(DQNConfig(), GoalConditionedQModule, patch_size=12)


def test_heads_without_places_refuse_them():
    with pytest.raises(ConfigError, match="num_atoms 5, expected 1"):
        make_replayed(DQNConfig().training(num_atoms=5), GoalConditionedQModule)
    with pytest.raises(ConfigError, match="Remove it, or use PPO, APPO, IMPALA or DQN"):
        make_replayed(SACConfig(), GoalConditionedSACModule)
