import numpy as np
import pytest
import torch
from goal_inputs import ACTIONS, SPACE
from ray.rllib.core.rl_module.apis import TARGET_NETWORK_ACTION_DIST_INPUTS

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies import GoalConditionedModule


def make(**model_config):
    torch.manual_seed(0)
    module = GoalConditionedModule(
        observation_space=SPACE,
        action_space=ACTIONS,
        model_config={"memory": "lstm", "hidden": 16, "lstm_size": 12, **model_config},
    )
    torch.nn.init.normal_(module.action.weight)  # not its small initial weights
    return module


def sequences(seed=0, batch=3, length=7):
    rng = np.random.default_rng(seed)
    return {
        "observation": torch.from_numpy(rng.integers(0, 256, (batch, length, 24, 24, 3), np.uint8)),
        "goal": torch.from_numpy(rng.standard_normal((batch, length, 6), np.float32)),
    }


def steps(seen, *slices):
    return {key: value[:, slice(*slices)] for key, value in seen.items()}


def initial(module, batch=3):
    return {key: value.repeat(batch, 1) for key, value in module.get_initial_state().items()}


def played(module, seen, state):
    """Return the logits [B, T, 4] of an env runner that steps through the frames."""
    logits = []
    for t in range(seen["goal"].shape[1]):
        out = module.forward_inference({"obs": steps(seen, t, t + 1), "state_in": state})
        logits.append(out["action_dist_inputs"])
        state = out["state_out"]
    return torch.cat(logits, 1), state


def test_a_learner_sees_what_the_env_runner_saw_step_by_step():
    module, seen = make(), sequences()
    logits, last = played(module, seen, initial(module))
    batch = {"obs": seen, "state_in": initial(module)}
    out = module.forward_train(batch)
    torch.testing.assert_close(out["action_dist_inputs"], logits, atol=1e-5, rtol=0)
    for key, value in out["state_out"].items():
        torch.testing.assert_close(value, last[key], atol=1e-5, rtol=0)
    assert out["action_dist_inputs"].shape == (3, 7, 4)
    values = module.compute_values(batch)
    assert values.shape == (3, 7)
    torch.testing.assert_close(
        values, module.compute_values(batch, embeddings=out["embeddings"]), atol=1e-6, rtol=0
    )


def test_a_sequence_that_begins_in_the_middle_goes_on_from_its_state():
    module, seen = make(), sequences()
    whole = module.forward_train({"obs": seen, "state_in": initial(module)})
    _, state = played(module, steps(seen, 4), initial(module))
    rest = module.forward_train({"obs": steps(seen, 4, None), "state_in": state})
    torch.testing.assert_close(
        rest["action_dist_inputs"], whole["action_dist_inputs"][:, 4:], atol=1e-5, rtol=0
    )


def test_padding_behind_a_sequence_changes_nothing_in_it():
    module, seen = make(), sequences()
    padded = {key: value.clone() for key, value in seen.items()}
    for value in padded.values():
        value[:, 4:] = 0
    out = module.forward_train({"obs": padded, "state_in": initial(module)})
    short = module.forward_train({"obs": steps(seen, 4), "state_in": initial(module)})
    torch.testing.assert_close(out["action_dist_inputs"][:, :4], short["action_dist_inputs"])


def test_one_frame_after_different_histories_is_not_the_same():
    module, first, second = make(), sequences(0), sequences(1)
    for key, value in second.items():
        value[:, -1] = first[key][:, -1]
    logits = [played(module, seen, initial(module))[0][:, -1] for seen in (first, second)]
    assert (logits[0] - logits[1]).abs().amin(1).gt(1e-4).all()


def test_without_memory_the_module_has_no_state_and_no_sequences():
    module = make(memory=None)
    assert module.get_initial_state() == {}
    assert not module.is_stateful()
    assert make().is_stateful()


def test_every_parameter_learns_through_the_memory():
    module = make()
    batch = {"obs": sequences(), "state_in": initial(module)}
    out = module.forward_train(batch)
    (
        out["action_dist_inputs"][:, -1].square().sum() + module.compute_values(batch).sum()
    ).backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_the_targets_remember_too():
    module, batch = make(), {"obs": sequences(), "state_in": None}
    batch["state_in"] = initial(module)
    before = module.forward_train(batch)["action_dist_inputs"].detach()
    module.make_target_networks()
    with torch.no_grad():
        for parameter in (*module.encoder.parameters(), *module.action.parameters()):
            parameter.add_(0.1)
    target = module.forward_target(batch)[TARGET_NETWORK_ACTION_DIST_INPUTS]
    torch.testing.assert_close(target, before)


@pytest.mark.parametrize(("given", "expected"), [({}, 20), ({"max_seq_len": 7}, 7)])
def test_rllib_s_connectors_find_a_sequence_length(given, expected):
    assert make(**given).model_config["max_seq_len"] == expected


@pytest.mark.parametrize(
    ("model_config", "message"),
    [({"memory": "gru"}, "expected 'lstm'"), ({"use_lstm": True}, "Set memory: lstm")],
)
def test_another_memory_is_refused(model_config, message):
    with pytest.raises(ConfigError, match=message):
        make(**model_config)
