import pydantic
import pytest
import yaml

from rllib_vlm_reward.config import VLMRewardConfig

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
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"threshold": -0.1}, "greater than or equal to 0"),
        ({"threshold": float("nan")}, "threshold"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"goals": []}, "at least 1 item"),
        ({"goals": ["a ball", ""]}, "empty text"),
        ({"goals": ["a ball"]}, "no negatives"),
        ({"goals": ["a ball"], "negatives": ["a ball"]}, "among its own negatives"),
        ({"goals": [{"text": "a", "prompt": ""}, "b"]}, "empty text"),
        ({"templates": [{"nothing": " "}]}, "nothing is empty"),
        ({"baseline": "  "}, "empty text"),
        ({"head": "magic"}, "softmax"),
        ({"head": "goal_baseline"}, "baseline"),
        ({"mode": "deferred", "early_end": True, "threshold": 0.5}, "mode: synchronous"),
        ({"mode": "synchronous", "early_end": True}, "no threshold"),
        ({"frame_source": "camera"}, "frame_source"),
        ({"goal_source": "mission"}, "goal_source"),
        ({"num_actors": 0}, "num_actors"),
        ({"num_gpus_per_actor": -1}, "num_gpus_per_actor"),
        ({"precision": "int8"}, "precision"),
        ({"encoder": ""}, "encoder"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        make(**settings)


def test_heads_that_need_no_negatives_take_a_single_goal():
    assert make(goals=["a ball"], head="cosine").goal_set[0].negatives == ()
