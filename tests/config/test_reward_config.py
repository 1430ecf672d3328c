import datetime
import re

import numpy as np
import pydantic
import pytest
import yaml

from rllib_vlm_reward.config import FrameConfig, GoalConfig, VLMRewardConfig

GOALS = {"encoder": "ViT-B-32/random", "goals": ["a ball", "a key"]}


def make(**settings):
    return VLMRewardConfig(**{**GOALS, **settings})


def test_yaml_and_object_are_the_same():
    config = make(
        goals=[
            "pick up the {red|blue} ball",
            {"text": "go", "prompt": "gone", "negatives": ["here"]},
        ],
        templates=[{"goal": "pick up {}", "prompt": "has {}", "nothing": "empty"}, {}],
        threshold=0.7,
        mode="synchronous",
        early_end=True,
    )
    again = VLMRewardConfig.from_yaml(config.to_yaml())
    assert again == config
    assert again.goal_set == config.goal_set
    assert again.goal_set[2].negatives == ("here",)
    assert yaml.safe_load(config.to_yaml())["threshold"] == 0.7


def test_a_config_is_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        make().threshold = 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"treshold": 0.5}, "unknown key 'treshold'. Did you mean 'threshold'"),
        ({"threshold": 1.5}, "got 1.5, which no score of the head 'softmax' exceeds"),
        ({"threshold": -0.1}, "got -0.1, which every score"),
        ({"threshold": 0}, "got 0, which every score .* expected more than 0 and less than 1"),
        ({"threshold": 1}, "got 1, which no score"),
        ({"threshold": 0, "head": "sigmoid"}, "got 0, which every score of the head 'sigmoid'"),
        ({"threshold": 1, "head": "cosine"}, "got 1, which no score of the head 'cosine'"),
        ({"threshold": -1.1, "head": "cosine"}, "expected -1 or more and less than 1"),
        ({"threshold": float("nan")}, "finite number"),
        ({"threshold": True}, "threshold\n.*got True, a boolean, expected a number"),
        ({"threshold": "0.5"}, "threshold\n.*got '0.5', a text, expected a number. Remove the q"),
        ({"num_negatives": True}, "num_negatives\n.*got True, a boolean"),
        ({"env_reward_weight": False}, "env_reward_weight\n.*got False, a boolean"),
        ({"frames": {"window": True}}, "window\n.*got True, a boolean"),
        ({"serving": {"num_actors": "2"}}, "num_actors\n.*got '2', a text"),
        ({"serving": {"timeout_s": True}}, "timeout_s\n.*got True, a boolean"),
        ({"head": {"kind": "softmax", "temperature": True}}, "softmax: temperature: got True, a b"),
        ({"head": {"kind": "softmax", "temperature": "1"}}, "softmax: temperature: got '1', a tex"),
        ({"agents": {"a": {"threshold": True}}}, "agent 'a': threshold: got True, a boolean"),
        ({"threshold": float("nan")}, "threshold"),
        ({"head": {"kind": "softmax", "temperature": 0.0}}, "more than 0"),
        ({"goals": []}, "at least 1 item"),
        ({"goals": ["a ball", ""]}, "empty text"),
        ({"goals": ["a ball"]}, "no negatives"),
        ({"goals": ["a ball"], "negatives": ["a ball"]}, "among its negatives"),
        ({"goals": [{"text": "a", "prompt": ""}, "b"]}, "empty text"),
        ({"templates": [{"nothing": " "}]}, "nothing is empty"),
        ({"goals": [{"text": "a", "difficulty": float("nan")}, "b"]}, "finite number"),
        ({"goals": [{"text": "a", "family": ""}, "b"]}, "at least 1 character"),
        ({"templates": [{"family": " "}]}, "family is empty"),
        ({"baseline": "  "}, "empty text"),
        ({"head": "magic"}, "softmax"),
        ({"head": "goal_baseline"}, "baseline"),
        ({"mode": "deferred", "early_end": True, "threshold": 0.5}, "mode: synchronous"),
        ({"mode": "synchronous", "early_end": True}, "no threshold"),
        ({"frames": {"source": "camera"}}, "frames.source\n.*expected render, obs"),
        ({"goal_source": "mission"}, "goal_source"),
        ({"serving": {"num_actors": 0}}, "num_actors"),
        ({"serving": {"num_gpus_per_actor": -1}}, "num_gpus_per_actor"),
        ({"serving": {"precision": "int8"}}, "precision"),
        ({"encoder": ""}, "encoder"),
        ({"serving": {"num_cpus_per_actor": float("inf")}}, "num_cpus_per_actor\n.*finite number"),
        ({"goals": ["a \ud83d", "b"]}, "which has half of a character"),
        ({"agents": {True: None}}, "got the agent True, a boolean.* in quotes"),
        ({"agents": {"a": {"frames": {datetime.date(2024, 2, 29): 1}}}}, "keys of another type"),
        ({"window": 2}, r"unknown key 'window'. It belongs in vlm_reward.frames\b"),
        ({"temperature": 0.1}, "unknown key 'temperature'. It belongs in vlm_reward.head. Move it"),
        ({"frames": {"threshold": 0.5}}, "frames\n.*'threshold'. It belongs in vlm_reward. Move"),
        ({"head": {"kind": "cosine", "window": 2}}, "'window'. It belongs in vlm_reward.frames"),
        ({"head": {"kind": "cosine", "alpha": 1}}, r"'alpha'. The keys are \[\]"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        make(**settings)


def test_heads_that_need_no_negatives_take_a_single_goal():
    assert make(goals=["a ball"], head="cosine").goal_set[0].negatives == ()


def test_held_out_goals_change_nothing_for_those_of_training():
    seen = ["a {red|blue|green} ball", "a {red|blue} key"]
    plain = VLMRewardConfig(encoder="small", goals=seen, num_negatives=2)
    held = VLMRewardConfig(
        encoder="small", goals=seen, num_negatives=2, evaluation_goals=["a grey {ball|key}"]
    )
    assert held.goal_set.goals[:5] == plain.goal_set.goals == held.training_goals.goals
    assert held.goal_set.texts[5:] == ("a grey ball", "a grey key")


def test_a_goal_is_held_out_or_not():
    with pytest.raises(pydantic.ValidationError, match="'a red ball' is given more than once"):
        VLMRewardConfig(
            encoder="small", goals=["a {red|blue} ball"], evaluation_goals=["a red ball"]
        )


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            {"serving": {"num_actors": 2}},
            "'serving' for agent 'a', but it is the same for all agents",
        ),
        ({"treshold": 0.5}, "unknown key 'treshold'. Did you mean 'threshold'?"),
        ({"goals": ["one goal"]}, "agent 'a'"),
        ({"frames": {"window": 0}}, "agent 'a': window: got 0"),
        ({"frames": {"source": object()}}, "expected values as in YAML"),
    ],
)
def test_an_agents_settings_are_checked_at_once(own, says):
    with pytest.raises(pydantic.ValidationError, match=re.escape(says)):
        VLMRewardConfig(encoder="small", goals=["a ball", "a key"], agents={"a": own})


def test_an_agent_has_its_own_settings_and_the_runs():
    config = VLMRewardConfig(
        encoder="small",
        goals=["a ball", "a key"],
        threshold=0.5,
        agents={"a": {"threshold": None}, 1: None},
        serving={"num_actors": 3},
    )
    assert config.for_agent("a") == VLMRewardConfig(
        encoder="small", goals=["a ball", "a key"], threshold=None, serving={"num_actors": 3}
    )
    assert config.for_agent(1) is None
    assert config.for_agent("b").threshold == 0.5
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config


def test_where_rewards_are_computed_is_no_setting_of_the_reward():
    config = VLMRewardConfig(encoder="small", goals=["a ball", "a key"])
    elsewhere = config.model_copy(
        update={"mode": "synchronous", "serving": {"num_actors": 4, "timeout_s": 1.0}}
    )
    assert elsewhere.reward_settings == config.reward_settings
    assert (
        config.model_copy(update={"head": {"kind": "softmax", "temperature": 0.1}}).reward_settings
        != config.reward_settings
    )


def test_an_early_end_needs_more_than_the_last_step():
    with pytest.raises(pydantic.ValidationError, match="scored_steps is 'last'"):
        VLMRewardConfig(
            encoder="small",
            goals=["a ball", "a key"],
            threshold=0.5,
            mode="synchronous",
            early_end=True,
            frames={"scored_steps": "last"},
        )


def test_a_copy_is_checked_and_keeps_nothing_of_the_old():
    config = make()
    assert config.goal_set.texts == ("a ball", "a key")
    copy = config.model_copy(update={"goals": ["a box", "a door"]})
    assert copy.goal_set.texts == ("a box", "a door")
    assert copy.reward_settings["goals"] == ["a box", "a door"]
    with pytest.raises(pydantic.ValidationError, match="less than 1"):
        config.model_copy(update={"threshold": 2})


def test_an_agents_own_goals_leave_the_others_held_out_ones():
    config = make(evaluation_goals=["a box"], agents={"a": {"goals": ["a box", "a door"]}})
    assert config.for_agent("a").goal_set.texts == ("a box", "a door")


def test_an_agents_settings_survive_yaml_however_they_were_given():
    own = {"goals": (GoalConfig(text="a box", negatives=("a door",)), "a wall")}
    config = make(agents={"a": own, 3: {"goals": ["a lamp", "a cup"]}})
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config


def film(env, observations, infos):
    return observations


def test_an_agent_may_be_given_a_frame_source_and_a_head_with_arrays():
    own = {"frames": {"source": film}, "head": {"kind": "cosine"}, "num_negatives": np.int64(1)}
    config = make(frames={"window": 2}, agents={"a": own})
    assert config.for_agent("a").frames == FrameConfig(source=f"{__name__}.film", window=2)
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config


@pytest.mark.parametrize("steps", [True, 0, -1, 2.0, "every", "3", None, ["all"]])
def test_scored_steps_are_named_or_counted(steps):
    with pytest.raises(
        pydantic.ValidationError, match=r"or an integer k > 0 for every k-th step\. Choose one"
    ) as raised:
        make(frames={"scored_steps": steps})
    assert len(raised.value.errors()) == 1


def test_a_family_is_the_goals_own_else_its_templates_else_the_pattern():
    config = make(
        goals=["see a {ball|key}", {"text": "see a box", "family": "boxes", "difficulty": 2}, "go"],
        templates=[{"goal": "see {}", "prompt": "{}", "family": "sight"}, {"nothing": "idle"}],
    )
    goals = config.training_goals
    assert goals.families == {"sight": (0, 1), "boxes": (2,), "{}": (3,)}
    assert [goal.difficulty for goal in goals.goals] == [None, None, 2.0, None]
    assert VLMRewardConfig.from_yaml(config.to_yaml()).goal_set == config.goal_set


def test_families_and_difficulties_are_no_settings_of_the_reward():
    box = {"text": "a box", "negatives": ["a door"]}
    plain = make(goals=["a ball", "a key", box], agents={"a": {"goals": ["a lamp", "a cup"]}})
    graded = make(
        goals=[
            {"text": "a ball", "difficulty": 1.5},
            {"text": "a key", "family": "keys"},
            {**box, "family": "boxes"},
        ],
        templates=[{"family": "things"}],
        agents={"a": {"goals": ["a lamp", {"text": "a cup", "difficulty": -1}]}},
    )
    assert graded.goal_set.families != plain.goal_set.families
    assert graded.reward_settings == plain.reward_settings
    assert graded.goal_set.fingerprint == plain.goal_set.fingerprint
    other = make(goals=["a ball", "a key", {**box, "negatives": ["a wall"]}])
    assert other.reward_settings["goals"] != plain.reward_settings["goals"]


@pytest.mark.parametrize(
    "settings",
    [
        {"negatives": ["a {red|blue} door"]},
        {"baseline": "a {color} door"},
        {"templates": [{"nothing": "no [ball|key]"}]},
    ],
)
def test_a_statement_that_looks_like_a_pattern_is_refused(settings):
    with pytest.raises(pydantic.ValidationError, match="Give each statement in full"):
        make(**settings)


@pytest.mark.parametrize("goal", ["the {color} ball", "the {red,blue} ball", "the [red|blue] ball"])
def test_a_goal_that_expands_to_nothing_is_refused(goal):
    with pytest.raises(pydantic.ValidationError, match="expands to nothing"):
        make(goals=[goal, "a key"])
    literal = make(goals=[{"text": goal}, "a key"])
    assert literal.goal_set.texts == (goal, "a key")


@pytest.mark.parametrize("settings", [{"head": "dense"}, {"head": "cosine"}])
def test_zero_is_a_threshold_where_scores_may_be_zero(settings):
    assert make(threshold=0, **settings).threshold == 0.0


def test_a_threshold_that_dense_never_reaches_is_refused():
    """Its highest score is 1 - 1/N among N statements, here of the goal that has the fewest."""
    given = {"goals": ["a {red|blue|green} ball", {"text": "a key", "negatives": ["a room"]}]}
    given["head"] = "dense"
    assert make(threshold=0.499, **given).score_range == (0, 0.75)
    for threshold in (0.5, 0.999):
        with pytest.raises(
            pydantic.ValidationError,
            match=rf"got {threshold}, which no score of the head 'dense' exceeds among the 2 "
            r"statements of the goal 'a key', expected 0 or more and less than 0\.5",
        ):
            make(threshold=threshold, **given)


def test_a_threshold_below_zero_suits_a_cosine():
    assert make(threshold=-0.2, head="cosine").threshold == -0.2
