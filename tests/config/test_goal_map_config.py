"""The setting of the policy's map: what it gives the readout, and what it refuses."""

import re
import subprocess
import sys
import textwrap

import pydantic
import pytest

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.encoder import Encoder
from rllib_vlm_reward.reward_model.readouts import GoalMap
from rllib_vlm_reward.settings import messages

TEMPLATES = [{"goal": "lift the {}", "prompt": "the agent holds the {}", "noun": "a {}"}]


def reward(**changes):
    given = {
        "encoder": "small",
        "goals": ["lift the {ball|key}"],
        "templates": TEMPLATES,
        "mode": "synchronous",
        "goal_map": True,
    }
    return VLMRewardConfig(**{**given, **changes})


def test_the_readout_has_a_noun_for_each_goal_and_the_encoders_size():
    (find,) = reward(evaluation_goals=["lift the box"]).scorer.readouts
    assert find == GoalMap(
        nouns=("a ball", "a key", "a box"), others=("a ball", "a key", "nothing"), size=(7, 7)
    )
    assert reward(encoder="ViT-B-16/random").map_size == (14, 14)


def test_beside_a_bonus_it_is_compared_with_the_words_of_the_bonus():
    bonus = {"kind": "focal", "weight": 1, "nothing": ["a wall", "a floor"]}
    focal, find = reward(bonus=bonus).scorer.readouts
    assert find.others == focal.others == ("a ball", "a key", "a wall", "a floor")
    assert find.nouns == focal.nouns


def test_it_survives_yaml_and_is_a_setting_of_the_checkpoint():
    for given in (True, (14, 7)):
        config = reward(goal_map=given)
        assert VLMRewardConfig.from_yaml(config.to_yaml()) == config
        assert config.reward_settings["goal_map"] is True  # its size is the encoder's
    assert reward(goal_map=(14, 7)).map_size == (14, 7)


def test_without_it_nothing_is_new():
    config = reward(goal_map=False)
    assert config.scorer.readouts == ()
    assert config.map_readout is None
    assert "goal_map" not in config.reward_settings


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"mode": "deferred"},
            "needs the map of a frame before it acts, .* Set mode: sync",
        ),
        (
            {"templates": [{"goal": "lift the {}", "prompt": "the agent holds the {}"}]},
            r"goal_map: goal 'lift the ball' has no noun, .* Add `noun` to its template, as in",
        ),
        (
            {"evaluation_goals": ["find it"], "templates": [*TEMPLATES, {}]},
            "goal_map: goal 'find it' has no noun",
        ),
        (
            {"frames": {"scored_steps": "changed"}},
            r"goal_map: got frames.scored_steps 'changed', expected 'all', .* or goal_map",
        ),
        (
            {"goals": ["lift the nothing", "lift the key"], "templates": [{"noun": "nothing"}]},
            r"goal_map: got 'nothing' both in `nothing` and as the noun of the goal",
        ),
        ({"goal_map": [0, 7]}, "goal_map"),
        ({"goal_map": [7]}, "goal_map"),
        ({"goal_map": [True, 7]}, "goal_map: got True, a boolean, expected a number"),
        ({"goal_map": ["7", 7]}, "goal_map: got '7', a text, expected a number. Remove the quotes"),
        ({"agents": {"a": {"goal_map": True}}}, "'goal_map' .* it is the same for all agents"),
    ],
)
def test_what_it_refuses(changes, error):
    with pytest.raises(pydantic.ValidationError) as raised:
        reward(**changes)
    assert re.search(error, messages(raised.value)[0]), messages(raised.value)


class Own(Encoder):
    """An encoder with patches, whose class does not say how many."""

    def tower_for(self, score, name):
        raise NotImplementedError


class Plain(Encoder):
    """An encoder without patches."""


def test_an_encoder_of_ones_own_needs_the_size():
    own = reward(encoder=Own)
    with pytest.raises(RewardError, match=r"got true with the encoder .*Set goal_map: \[h, w\]"):
        assert own.scorer
    assert reward(encoder=Own, goal_map=[3, 4]).scorer.columns == 13
    for without in (Plain, "RN50/random"):
        with pytest.raises(RewardError, match="which has no patch embeddings"):
            assert reward(encoder=without).scorer


def test_no_torch_is_needed_to_refuse():
    code = """
        import sys
        from rllib_vlm_reward.config import VLMRewardConfig
        given = {"encoder": "small", "goals": ["a ball", "a key"], "mode": "synchronous"}
        try:
            VLMRewardConfig(**given, goal_map=True)
        except ValueError as error:
            assert "has no noun" in str(error)
        config = VLMRewardConfig(**given, goal_map=[7, 7], templates=[{"noun": "{}"}])
        assert config.scorer.columns == 50
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
