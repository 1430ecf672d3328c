"""The settings of a bonus: what they give the readout, and what they refuse."""

import re
import subprocess
import sys
import textwrap

import numpy as np
import pydantic
import pytest

from rllib_vlm_reward.config import BonusConfig, VLMRewardConfig, position
from rllib_vlm_reward.reward_model.readouts import Focal
from rllib_vlm_reward.settings import messages

TEMPLATES = [{"goal": "lift the {}", "prompt": "the agent holds the {}", "noun": "a {}"}]


def reward(**changes):
    given = {
        "encoder": "small",
        "goals": ["lift the {ball|key}"],
        "templates": TEMPLATES,
        "bonus": {"kind": "focal", "weight": 0.5},
    }
    return VLMRewardConfig(**{**given, **changes})


def test_the_readout_has_a_noun_for_each_goal():
    config = reward(evaluation_goals=["lift the box"], goals=["lift the {ball|key}"])
    (focal,) = config.scorer.readouts
    assert focal == Focal(
        nouns=("a ball", "a key", "a box"), others=("a ball", "a key", "nothing"), centre=(0.5, 0.5)
    )
    # The held-out goal's noun competes with no training goal's, so it changes no reward.
    assert focal.others == reward().scorer.readouts[0].others


def test_each_setting_reaches_the_readout():
    bonus = {"kind": "focal", "weight": 2, "centre": [0.25, 1], "nothing": ["a wall", "nothing"]}
    (focal,) = reward(bonus={**bonus, "argmax": True, "binary": 0.5}).scorer.readouts
    assert focal.others == ("a ball", "a key", "a wall", "nothing")
    assert (focal.centre, focal.argmax, focal.binary) == ((0.25, 1.0), True, 0.5)


@pytest.mark.parametrize(
    "centre",
    [
        np.array([0.25, 1.0]),
        np.array([0.25, 1.0], np.float32),
        (np.float32(0.25), np.int64(1)),
        [0.25, 1],
    ],
    ids=repr,
)
def test_a_place_may_be_numpys(centre):
    given = {"kind": "focal", "weight": 1}
    assert BonusConfig(**given, centre=centre).centre == (0.25, 1.0)


@pytest.mark.parametrize(
    "centre",
    [np.array([28, 52]), np.array(0.5), np.zeros((2, 2)), (0.5, True), (0.5, float("nan")), "ab"],
    ids=repr,
)
def test_a_place_has_two_shares(centre):
    with pytest.raises(ValueError, match="expected x and y: shares of the frame's width"):
        position(centre)


def test_a_goal_in_full_may_have_its_own_noun():
    goals = ["lift the ball", {"text": "lift the key", "noun": "a golden key"}]
    assert reward(goals=goals).scorer.readouts[0].nouns == ("a ball", "a golden key")


def test_it_survives_yaml():
    config = reward(bonus={"kind": "focal", "weight": 0.5, "centre": [0.5, 0.9], "potential": True})
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config
    assert config.reward_settings["bonus.potential"] is True
    assert config.reward_settings["bonus.centre"] == [0.5, 0.9]


def test_without_a_bonus_nothing_is_new():
    config = reward(bonus=None, templates=[{**TEMPLATES[0], "noun": None}])
    assert config.scorer.readouts == ()
    assert not [key for key in config.reward_settings if key.startswith("bonus")]
    assert "noun" not in config.reward_settings["templates"][0]
    named = reward(bonus=None)
    assert named.scorer.fingerprint == config.scorer.fingerprint
    assert named.goal_set.fingerprint == config.goal_set.fingerprint


def test_agents_may_differ():
    config = reward(agents={"seeker": {"bonus": {"weight": 2.0}}, "judge": {"bonus": None}})
    assert config.for_agent("seeker").bonus == BonusConfig(kind="focal", weight=2.0)
    assert config.for_agent("judge").scorer.readouts == ()
    assert config.bonus.weight == 0.5


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (
            {"templates": [{"goal": "lift the {}", "prompt": "the agent holds the {}"}]},
            r"goal 'lift the ball' has no noun, .* Add `noun` to its template, as in",
        ),
        (
            {"evaluation_goals": ["find it"], "templates": [*TEMPLATES, {}]},
            "goal 'find it' has no noun",
        ),
        (
            {"frames": {"scored_steps": 4}},
            r"got frames.scored_steps 4, expected 'all', .* Remove frames.scored_steps",
        ),
        (
            {"frames": {"scored_steps": "changed"}},
            r"got frames.scored_steps 'changed', expected 'all'",
        ),
        (
            {"bonus": {"kind": "focal", "weight": 1, "centre": [0.5, 1.2]}},
            r"bonus.centre: got \[0.5, 1.2\], expected centre, agent, or \[x, y\]: shares of .* "
            "Divide pixels",
        ),
        (
            {"bonus": {"kind": "focal", "weight": 1, "centre": "middle"}},
            r"bonus.centre: got 'middle', expected centre, agent, or \[x, y\]",
        ),
        (
            {"bonus": {"kind": "focal", "weight": 1, "nothing": ["a key"]}},
            r"got 'a key' both in `nothing` and as the noun of the goal 'lift the key'",
        ),
        (
            {"bonus": {"kind": "focal", "weight": 1, "nothing": ["a {wall|floor}"]}},
            r"got 'a \{wall\|floor\}', which CLIP would read as it is",
        ),
        ({"bonus": {"kind": "focal", "weight": 1, "nothing": []}}, "bonus.nothing: .* at least 1"),
        ({"bonus": {"kind": "focal", "weight": 0}}, "bonus.weight: .* greater than 0"),
        ({"bonus": {"kind": "focal"}}, "bonus.weight"),
        ({"bonus": {"kind": "rnd", "weight": 1}}, "bonus.kind: .*'focal'"),
        ({"bonus": {"kind": "focal", "weight": 1, "binary": 1.5}}, "bonus.binary: .* less than 1"),
        (
            {"agents": {"a": {"goals": ["find it"], "templates": [{}]}}},
            "goal 'find it' has no noun",
        ),
    ],
)
def test_what_it_refuses(changes, error):
    with pytest.raises(pydantic.ValidationError) as raised:
        reward(**changes)
    (message,) = messages(raised.value)
    assert re.search(error, message), message


def test_no_torch_is_needed_to_refuse():
    code = """
        import sys
        from rllib_vlm_reward.config import VLMRewardConfig
        goals, bonus = ["a ball", "a key"], {"kind": "focal", "weight": 1}
        try:
            VLMRewardConfig(encoder="small", goals=goals, bonus=bonus)
        except ValueError as error:
            assert "has no noun" in str(error)
        config = VLMRewardConfig(
            encoder="small", goals=goals, bonus=bonus, templates=[{"noun": "{}"}]
        )
        assert config.scorer.columns == 2
        print("torch" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
