"""The setting of hindsight: what it gives the readout, and what it refuses."""

import re

import pydantic
import pytest

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.reward_model.readouts import Holds
from rllib_vlm_reward.settings import messages

TEMPLATES = [
    {"goal": "lift the {}", "prompt": "the agent holds the {}", "noun": "a {}"},
    {"goal": "get the {}", "prompt": "the agent holds the {}", "noun": "a {}"},
]


def reward(**changes):
    given = {
        "encoder": "small",
        "goals": ["lift the {ball|key}", "get the {ball|box}"],
        "evaluation_goals": ["lift the cup"],
        "templates": TEMPLATES,
        "negatives": ["the agent holds nothing"],
        "threshold": 0.5,
        "hindsight": 4,
    }
    return VLMRewardConfig(**{**given, **changes})


def test_training_goals_are_looked_for_and_of_paraphrases_one():
    (readout,) = reward().scorer.readouts
    assert readout == Holds(candidates=(0, 1, 3), threshold=0.5, most=32)
    assert reward().scorer.goals == reward(hindsight=None).scorer.goals


def test_it_survives_yaml_and_changes_no_reward():
    assert VLMRewardConfig.from_yaml(reward().to_yaml()) == reward()
    assert reward().reward_settings == reward(hindsight=None).reward_settings
    assert reward(hindsight=None).scorer.readouts == ()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"hindsight": 0}, "hindsight: got 0, expected"),
        ({"threshold": None}, "hindsight: an episode is copied .* there is none. Set threshold"),
        ({"bonus": {"kind": "focal", "weight": 1}}, "hindsight: got it together with bonus"),
        ({"goal_map": True, "mode": "synchronous"}, "hindsight: got it together with goal_map"),
        ({"normalize_rewards": True}, "hindsight: got it together with normalize_rewards"),
        ({"env_reward_weight": 0.5}, "hindsight: got it together with env_reward_weight"),
        ({"goal_source": "obs:mission"}, "hindsight: got goal_source 'obs:mission', expected info"),
        ({"frames": {"window": 3}}, "hindsight: got frames.scored_steps 'all' and frames.window 3"),
        ({"frames": {"scored_steps": "changed"}}, "hindsight: got frames.scored_steps 'changed'"),
        (
            {"goals": ["lift the ball", "get the ball"]},
            "hindsight: got goals with one prompt",
        ),
        (
            {"threshold": None, "experts": {"a": {"encoder": "base"}, "b": {"encoder": "small"}}},
            "hindsight: got it together with experts",
        ),
    ],
    ids=str,
)
def test_what_a_copy_could_not_have_is_refused(changes, error):
    with pytest.raises(pydantic.ValidationError) as caught:
        reward(**changes)
    (message,) = messages(caught.value)
    assert re.search(error, message), message
