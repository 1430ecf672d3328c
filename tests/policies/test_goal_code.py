"""A goal passes discrete codes, and the loss of the codes rides on the features' gradient."""

import numpy as np
import pytest
import torch
from goal_inputs import ACTIONS, SPACE, observations, with_goals_flipped
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from torch.nn.functional import linear

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies import (
    GoalConditionedModule,
    GoalConditionedQModule,
    GoalConditionedSACModule,
)
from rllib_vlm_reward.policies.film import FilmEncoder
from rllib_vlm_reward.policies.goal_code import find_goal_code

CODES = {"goal_code": {"groups": 3, "codes": 5}}
LSTM = {"memory": "lstm", "lstm_size": 8, "max_seq_len": 7}
needs_codes = pytest.mark.codes


def encoder_with(**settings):
    torch.manual_seed(0)
    return FilmEncoder(SPACE, {**CODES, "channels": 4, "hidden": 8, **settings})


def module_with(config, module_class, **kwargs):
    torch.manual_seed(0)
    model_config = {**CODES, "channels": 4, "hidden": 8, **kwargs.pop("model_config", {})}
    if config is not None:
        model_config = config.rl_module(model_config=model_config).model_config
    return module_class(
        observation_space=SPACE, action_space=ACTIONS, model_config=model_config, **kwargs
    )


MODULES = [
    (None, GoalConditionedModule),
    (DQNConfig(), GoalConditionedQModule),
    (SACConfig(), GoalConditionedSACModule),
]
EACH_MODULE = pytest.mark.parametrize(("config", "module_class"), MODULES)


def codebook(encoder):
    return encoder.goal_code.quantizer.codebook


def nearest(encoder, goal):
    """Return groups before they are replaced, their codes' numbers, and the codes, by hand."""
    project = encoder.goal_code.project
    groups = linear(goal * 6**0.5, project.weight, project.bias).reshape(len(goal), 3, 2)
    codes = codebook(encoder)
    indices = torch.stack([((groups - code) ** 2).sum(-1) for code in codes], dim=-1).argmin(-1)
    return groups, indices, codes[indices]


def by_hand(encoder, seen):
    """Return the features, and the loss of the codes, with nothing hidden in a gradient."""
    groups, _, codes = nearest(encoder, seen["goal"])
    loss = 0.25 * ((groups - codes) ** 2).mean()
    goal = (groups + (codes - groups).detach()).reshape(len(groups), 6)
    image = seen["observation"].float().permute(0, 3, 1, 2) / 127.5 - 1
    scale, shift = encoder.film(goal)[:, :, None, None].chunk(2, dim=1)
    patches = torch.relu(encoder.patches(image) * (1 + scale) + shift)
    mixed = torch.relu(encoder.mix(patches)).flatten(1)
    return encoder.trunk(torch.cat([mixed, goal], dim=1)), loss


def gradients(encoder, loss):
    encoder.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in encoder.named_parameters()}


@needs_codes
def test_the_gradient_is_that_of_the_learners_loss_and_the_codes_loss_together():
    encoder, seen = encoder_with(), observations(size=40)
    features, loss = by_hand(encoder, seen)
    expected = gradients(encoder, features.square().mean() + loss)
    (alone,) = torch.autograd.grad(
        by_hand(encoder, seen)[0].square().mean(), encoder.goal_code.project.weight
    )
    got = gradients(encoder, encoder({"obs": seen})["encoder_out"].square().mean())
    assert got.keys() == expected.keys()
    for name in got:
        torch.testing.assert_close(got[name], expected[name])
    assert got["goal_code.quantizer._codebook.embed"].any()
    assert not torch.allclose(got["goal_code.project.weight"], alone)


@needs_codes
def test_a_pass_that_no_loss_depends_on_adds_nothing():
    encoder, seen = encoder_with(), observations(size=40)
    once = gradients(encoder, encoder({"obs": seen})["encoder_out"].square().mean())
    encoder({"obs": observations(1)})
    with torch.no_grad():
        encoder({"obs": seen})
    again = gradients(encoder, encoder({"obs": seen})["encoder_out"].square().mean())
    assert all(torch.equal(once[name], again[name]) for name in once)


@needs_codes
def test_padding_has_no_code_and_changes_no_gradient():
    encoder, seen = encoder_with(), observations(size=40)
    alone = gradients(encoder, encoder({"obs": seen})["encoder_out"].square().sum())
    padded = {
        key: torch.cat([value, torch.zeros_like(value[:9])]).reshape(7, 7, *value.shape[1:])
        for key, value in seen.items()
    }
    features = encoder({"obs": padded})["encoder_out"].flatten(0, 1)
    among = gradients(encoder, features[:40].square().sum())
    for name in alone:
        torch.testing.assert_close(among[name], alone[name])
    blank = {key: torch.zeros_like(value) for key, value in seen.items()}
    assert encoder({"obs": blank})["encoder_out"].isfinite().all()


@needs_codes
def test_the_policy_sees_the_nearest_codes_and_nothing_else_of_the_goal():
    encoder, seen = encoder_with(), observations(size=40)
    _, indices, codes = nearest(encoder, seen["goal"])
    assert torch.equal(encoder.goal_code.indices(seen["goal"].numpy()), indices)
    inputs = []
    encoder.film.register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    for mode in (encoder.train(), encoder.eval()):
        mode({"obs": seen})
        torch.testing.assert_close(inputs.pop(), codes.reshape(40, 6))
    nearby = {**seen, "goal": seen["goal"] + 1e-5}  # no border between codes is as near as that
    before, after = (encoder({"obs": each})["encoder_out"] for each in (seen, nearby))
    assert torch.equal(before, after)


@needs_codes
def test_a_code_is_a_name_to_read():
    encoder, goals = encoder_with(), observations(size=40)["goal"]
    _, indices, _ = nearest(encoder, goals)
    first = "-".join(str(int(index)) for index in indices[0])
    assert encoder.goal_code.names(goals.numpy())[0] == first
    assert first.count("-") == 2


@needs_codes
def test_usage_is_counted():
    code = encoder_with().goal_code
    with torch.no_grad():
        code.project.weight.copy_(torch.eye(6))
        code.project.bias.zero_()
        code.quantizer._codebook.embed.copy_(
            torch.tensor([[[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0], [9.0, 9.0]]])
        )
    a, b, c = [1, 0], [0, 1], [-1, 0]
    goals = np.array([a + a + a, a + a + a, a + a + b, a + b + c], np.float32) / 3**0.5
    assert code.names(goals) == ["0-0-0", "0-0-0", "0-0-1", "0-1-2"]
    usage = code.usage(goals)
    shares = np.array([9, 2, 1]) / 12
    assert usage.perplexity == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert usage.dead_codes == 2
    assert usage.alike_goals == 2


@needs_codes
@EACH_MODULE
def test_every_module_has_codes_that_learn(config, module_class):
    module = module_with(config, module_class)
    if hasattr(module, "make_target_networks"):
        module.make_target_networks()
    batch = {"obs": observations(0), "new_obs": observations(1)}
    before = {name: value.clone() for name, value in module.state_dict().items()}
    out = module.forward_train(batch)
    values = [out[key].square().sum() for key in out if out[key].requires_grad]
    sum(values).backward()
    acts = find_goal_code(module)
    assert acts.quantizer._codebook.embed.grad.any()
    assert acts.project.weight.grad.any()
    # A forward pass changes no state, such as moving averages.
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    targets = [each for name, each in module.named_parameters() if "target" in name]
    assert targets
    assert all(each.grad is None for each in targets)


@needs_codes
def test_target_networks_ask_for_no_gradient():
    module = module_with(None, GoalConditionedModule)
    module.make_target_networks()
    out = module.forward_target({"obs": observations()})
    assert not any(value.requires_grad for value in out.values())


@needs_codes
@pytest.mark.parametrize(
    ("config", "module_class", "memory"),
    [*((*each, {}) for each in MODULES), (None, GoalConditionedModule, LSTM)],
)
def test_it_comes_back_from_a_checkpoint_to_the_bit(config, module_class, memory, tmp_path):
    module = module_with(config, module_class, model_config=memory)
    module.save_to_path(tmp_path / "module")
    restored = RLModule.from_checkpoint(tmp_path / "module")
    assert module.state_dict().keys() == restored.state_dict().keys()
    for name, value in restored.state_dict().items():
        assert torch.equal(value, module.state_dict()[name]), name
    goals = observations(size=40)["goal"].numpy()
    assert find_goal_code(restored).names(goals) == find_goal_code(module).names(goals)


@needs_codes
def test_the_state_is_what_is_learnt():
    code = encoder_with().goal_code
    assert set(code.state_dict()) == {name for name, _ in code.named_parameters()}


@needs_codes
@EACH_MODULE
def test_an_env_runners_copy_has_the_codes_of_the_policy(config, module_class):
    learner = module_with(config, module_class)
    runner = module_with(config, module_class, inference_only=True)
    with torch.no_grad():
        for each in learner.parameters():
            each.add_(torch.randn_like(each))
    runner.set_state(learner.get_state(inference_only=True))
    goals = observations(size=40)["goal"].numpy()
    assert find_goal_code(runner).names(goals) == find_goal_code(learner).names(goals)


@needs_codes
def test_an_env_runner_refuses_the_state_of_a_policy_without_codes():
    plain = module_with(None, GoalConditionedModule, model_config={"goal_code": None})
    runner = module_with(None, GoalConditionedModule, inference_only=True)
    with pytest.raises(ValueError, match=r"missing keys: \['encoder\.goal_code"):
        runner.set_state(plain.get_state(inference_only=True))


@needs_codes
def test_another_goal_is_another_policy():
    module, seen = module_with(None, GoalConditionedModule), observations()
    first, second = (
        module.encoder({"obs": each})["encoder_out"] for each in (seen, with_goals_flipped(seen))
    )
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[2], second[2])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"groups": 4, "codes": 5}, r"4 groups for goals of 6 numbers.*one of \[1, 2, 3, 6\]"),
        ({"groups": 0, "codes": 5}, "groups: got 0, expected greater than or equal to 1"),
        ({"groups": 3, "codes": 0}, "codes: got 0, expected greater than or equal to 2"),
        ({"groups": 3, "codes": 1}, "codes: got 1, expected greater than or equal to 2"),
        ({"groups": 3}, "codes: the key is missing"),
        ({"groups": 3, "codes": 5, "heads": 2}, "unknown key 'heads'"),
        ({"groups": 3, "code": 5}, "unknown key 'code'. Did you mean 'codes'"),
        ({"groups": "three", "codes": 5}, "groups: got 'three', expected a whole number"),
        (True, "got True, expected keys with values. The keys are groups, codes"),
    ],
)
@EACH_MODULE
def test_wrong_settings_are_one_error_of_every_module(given, says, config, module_class):
    with pytest.raises(ConfigError, match=f"^model_config.goal_code: .*{says}"):
        module_with(config, module_class, model_config={"goal_code": given})


@EACH_MODULE
def test_without_its_package_the_error_says_what_to_install(config, module_class, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install "rllib-vlm-reward\[codes\]"'):
        module_with(config, module_class)


@EACH_MODULE
def test_without_codes_there_is_nothing_new_in_the_state(config, module_class):
    module = module_with(config, module_class, model_config={"goal_code": None})
    assert not [name for name in module.state_dict() if "goal_code" in name]
    assert find_goal_code(module) is None
