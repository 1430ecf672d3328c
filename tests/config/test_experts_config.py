"""The settings of experts: what each of them gets, and what they refuse."""

import subprocess
import sys
import textwrap

import pydantic
import pytest

from rllib_vlm_reward.config import ServingConfig, VLMRewardConfig
from rllib_vlm_reward.reward_model.combiner import Rule
from rllib_vlm_reward.reward_model.heads import Cosine, Sigmoid, Softmax
from rllib_vlm_reward.reward_model.panel import Panel
from rllib_vlm_reward.settings import messages

EXPERTS = {
    "large": {"encoder": "base"},
    "small": {"encoder": "small", "head": "sigmoid"},
    "near": {"encoder": "base", "frames": {"source": "info:crop"}},
}
GOALS = ["find the {ball|key}"]


def reward(**changes):
    return VLMRewardConfig(**{"goals": GOALS, "experts": EXPERTS, **changes})


def test_each_expert_is_a_reward_with_what_differs():
    config = reward(frames={"source": "obs", "scored_steps": 4}, serving={"timeout_s": 7})
    large, small, near = config.by_expert.values()
    assert [each.encoder for each in (large, small, near)] == ["base", "small", "base"]
    assert [each.head for each in (large, small, near)] == [Softmax(), Sigmoid(), Softmax()]
    assert [each.frames.source for each in (large, small, near)] == ["obs", "obs", "info:crop"]
    assert {each.frames.scored_steps for each in (large, small, near)} == {4}
    assert {each.serving.timeout_s for each in (large, small, near)} == {7}
    assert config.sources == ("obs", "info:crop")
    assert config.leading is large


def test_the_panel_asks_them_in_their_order():
    panel = reward().rater
    assert isinstance(panel, Panel)
    assert panel.names == ("score", "disagreement", "large", "small", "near")
    assert [expert.view for expert in panel.experts] == [0, 0, 1]
    assert panel.combiner == Rule("mean")
    assert panel.goals.texts == ("find the ball", "find the key")


def test_without_experts_the_scorer_is_asked():
    config = VLMRewardConfig(encoder="small", goals=GOALS)
    assert config.rater is config.scorer
    assert config.by_expert == {"": config}
    assert config.leading is config
    assert config.sources == ("render",)
    assert not {"experts", "combine"} & config.reward_settings.keys()


def test_an_experts_templates_are_its_own():
    templates = [{"goal": "find the {}", "prompt": "a photo of a {}"}]
    config = reward(experts={**EXPERTS, "photo": {"encoder": "base", "templates": templates}})
    assert config.by_expert["photo"].goal_set[0].prompt == "a photo of a ball"
    assert config.by_expert["large"].goal_set[0].prompt == "find the ball"
    assert config.by_expert["photo"].goal_set.texts == config.goal_set.texts


def test_an_agent_has_the_experts_with_its_own_goals():
    config = reward(agents={"seeker": {"goals": ["find the {box|door}"]}, "referee": None})
    seeker = config.for_agent("seeker")
    assert seeker.by_expert["small"].goal_set.texts == ("find the box", "find the door")
    assert seeker.by_expert["small"].head == Sigmoid()
    texts = [[goals.texts for goals in goal_sets] for _, _, goal_sets in config.encoders]
    assert texts == [[config.goal_set.texts, seeker.goal_set.texts]] * 3


def test_they_survive_yaml():
    config = reward(combine="max", frames={"source": "obs"})
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config


def test_groups_may_be_objects():
    config = reward(
        experts={**EXPERTS, "more": {"encoder": "xs", "serving": ServingConfig(num_actors=2)}}
    )
    assert config.by_expert["more"].serving.num_actors == 2
    assert config.by_expert["more"].serving.timeout_s == 60


def test_a_checkpoint_knows_what_each_expert_is():
    settings = reward().reward_settings
    assert settings["experts"]["small"] == {
        "encoder": "small",
        "templates": settings["experts"]["large"]["templates"],
        "head": "sigmoid",
        "frames.source": "render",
        "serving.precision": "auto",
    }
    assert settings["combine"] == "mean"
    assert "encoder" not in settings
    assert reward(combine="max").reward_settings != settings


def test_the_range_is_that_of_the_combination():
    assert reward(combine="mean").score_range == (0.0, 1.0)
    cosines = {name: {**each, "head": "cosine"} for name, each in EXPERTS.items()}
    config = reward(experts=cosines)
    assert config.score_range == (-1.0, 1.0)
    assert {each.head for each in config.by_expert.values()} == {Cosine()}
    dense = {name: {**each, "head": "dense"} for name, each in EXPERTS.items()}
    assert reward(experts=dense).score_range == pytest.approx((0.0, 0.5))


REFUSED = {
    "six": (
        {"experts": {f"e{i}": {"encoder": "small"} for i in range(6)}},
        "experts: got 6 experts, expected at most 5",
    ),
    "slash": ({"experts": {"a/b": {"encoder": "small"}}}, "got the expert 'a/b', expected a name"),
    "number": ({"experts": {1: {"encoder": "small"}}}, "got the expert 1, expected a name"),
    "text": ({"experts": {"a": "small"}}, "expert 'a': got 'small', expected a mapping"),
    "unknown": (
        {"experts": {"a": {"encoder": "small", "haed": "sigmoid"}}},
        "experts: expert 'a': unknown key 'haed'. Did you mean 'head'?",
    ),
    "value": (
        {"experts": {"a": {"encoder": "small", "serving": {"num_actors": 0}}}},
        "experts: expert 'a': num_actors: got 0, expected greater than or equal to 1",
    ),
    "common": (
        {"experts": {"a": {"encoder": "small", "threshold": 0.5}}},
        "experts: got 'threshold' for expert 'a', but it is the same for all experts",
    ),
    "window": (
        {"experts": {"a": {"encoder": "small", "frames": {"window": 4}}}},
        "experts: got frames.window for expert 'a', but it is the same for all experts",
    ),
    "pool": (
        {"experts": {"a": {"encoder": "small", "serving": {"pool_name": "p"}}}},
        "experts: got serving.pool_name for expert 'a', but it is the same",
    ),
    "no encoder": (
        {"experts": {"a": {"encoder": "small"}, "b": {}}, "combine": "mean"},
        None,
    ),
    "twins": (
        {"experts": {**EXPERTS, "again": {"encoder": "base"}}},
        "experts: 'large' and 'again' have the same encoder, head, frames and templates",
    ),
    "threshold": (
        {"threshold": 0.5},
        "threshold: got 0.5 with experts and without a calibration, but nobody knows what",
    ),
    "scales": (
        {"experts": {**EXPERTS, "cos": {"encoder": "base", "head": "cosine"}}},
        "whose scores lie on different scales",
    ),
    "noisy or": (
        {"combine": "noisy_or", "experts": {"cos": {"encoder": "base", "head": "cosine"}}},
        "combine: got 'noisy_or', but the head 'cosine' of expert 'cos' gives no probability",
    ),
    "rule": ({"combine": "median"}, "combine: got 'median', expected 'mean', 'max' or 'noisy_or'"),
    "bonus": (
        {
            "bonus": {"kind": "focal", "weight": 1},
            "templates": [{"goal": "find the {}", "prompt": "a {}", "noun": "a {}"}],
        },
        "bonus: got a bonus together with experts",
    ),
    "map": (
        {
            "goal_map": True,
            "mode": "synchronous",
            "templates": [{"goal": "find the {}", "prompt": "a {}", "noun": "a {}"}],
        },
        "goal_map: got a map together with experts",
    ),
    "changed": (
        {"frames": {"scored_steps": "changed"}},
        "frames.scored_steps: got 'changed' with experts that see other frames",
    ),
    "head": (
        {"experts": {"a": {"encoder": "small", "head": "goal_baseline"}}},
        "experts: expert 'a': head 'goal_baseline' needs a baseline for every goal",
    ),
    "agents": (
        {"agents": {"seeker": {"experts": {"a": {"encoder": "small"}}}}},
        "agents: got 'experts' for agent 'seeker', but it is the same for all agents",
    ),
    "agent's head": (
        {"agents": {"seeker": {"head": "cosine"}}},
        "agents: got 'head' for agent 'seeker', but the experts ['small'] have a 'head' of their",
    ),
    "agent's frames": (
        {"agents": {"seeker": {"frames": {"source": "info:other"}}}},
        "but the experts ['near'] have a 'frames' of their own",
    ),
}


@pytest.mark.parametrize("case", [name for name, (_, text) in REFUSED.items() if text])
def test_what_it_refuses(case):
    changes, text = REFUSED[case]
    with pytest.raises(pydantic.ValidationError) as error:
        reward(**changes)
    (message,) = (each for each in messages(error.value) if "the key is missing" not in each)
    assert text in message
    assert message[-1] in ".?"


def test_an_expert_without_an_encoder_has_the_rewards():
    config = reward(**REFUSED["no encoder"][0] | {"encoder": "base"})
    assert [each.encoder for each in config.by_expert.values()] == ["small", "base"]
    with pytest.raises(pydantic.ValidationError, match="the key is missing"):
        reward(experts={"a": {"head": "sigmoid"}})


def test_combine_needs_experts():
    with pytest.raises(pydantic.ValidationError, match="combine: got 'max' without experts"):
        VLMRewardConfig(encoder="small", goals=GOALS, combine="max")


def test_a_name_that_stands_twice_is_an_error_that_names_the_lines():
    text = "goals: [a ball, a key]\nexperts:\n  a: {encoder: small}\n  a: {encoder: base}\n"
    with pytest.raises(ValueError, match="'a'"):
        VLMRewardConfig.from_yaml(text)


def test_no_torch_is_needed_to_refuse():
    program = """
        import sys
        from rllib_vlm_reward.config import VLMRewardConfig
        experts = {"a": {"encoder": "small"}, "b": {"encoder": "base"}}
        config = VLMRewardConfig(goals=["a {ball|key}"], experts=experts)
        config.rater
        try:
            config.model_copy(update={"threshold": 0.5})
        except ValueError:
            print(sorted({"torch", "ray", "open_clip"} & sys.modules.keys()))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
