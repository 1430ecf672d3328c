"""Whatever stands in a configuration, it is read as it is written, or refused with a remedy."""

import copy
import itertools
import re

import pydantic
import yaml
from hypothesis import given
from hypothesis import strategies as st
from remedies import any_example, assert_helps
from written import GRAMMAR, PANEL, PATCHES, REWARD, keys, look_up, places, values

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.settings import dump_settings, parse_settings


@st.composite
def rewards(draw):
    """A configuration with a few faults, of which some are none."""
    left_out = draw(st.sets(st.sampled_from(sorted(REWARD)), max_size=len(REWARD)))
    reward = {key: copy.deepcopy(REWARD[key]) for key in REWARD if key not in left_out}
    reward |= {"encoder": "small", "goals": reward.get("goals", ["see a ball", "see a key"])}
    if draw(st.integers(0, 4)) == 0:
        reward["goals"] = copy.deepcopy(GRAMMAR)
        reward.pop("evaluation_goals", None)
    put_faults(draw, reward, draw(st.integers(0, 3)))
    return reward


@st.composite
def newer_rewards(draw):
    """A configuration of what reads patches, or of several experts, with one to three faults."""
    reward = copy.deepcopy(draw(st.sampled_from([PATCHES, PANEL])))
    put_faults(draw, reward, draw(st.integers(1, 3)))
    return reward


def put_faults(draw, reward, number):
    for _ in range(number):
        *path, key = draw(st.sampled_from([place for place in places(reward) if place]))
        parent, fault = look_up(reward, path), draw(st.integers(0, 5))
        if fault == 0:
            del parent[key]
        elif fault == 1 and isinstance(parent, dict):
            parent[draw(keys)] = parent.pop(key)
        elif fault == 2:
            parent[key] = draw(st.sampled_from([[parent[key]], {"a": parent[key]}]))
        elif fault == 3:
            parent[key] = str(parent[key])
        else:
            parent[key] = copy.deepcopy(draw(values))


def expanded(pattern):
    """The goals of a pattern, by a rule of our own."""
    parts = [part.split("|") for part in re.split(r"[{}]", pattern)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def check_reward(config, given):
    """Check a configuration that was read against what was written."""
    again = VLMRewardConfig.from_yaml(config.to_yaml())
    assert again == config
    assert again.goal_set.fingerprint == config.goal_set.fingerprint
    assert again.reward_settings == config.reward_settings
    assert given.keys() <= VLMRewardConfig.model_fields.keys()
    for key in ("threshold", "num_negatives", "mode", "early_end", "baseline", "success_key"):
        written = given.get(key)
        assert written is None or getattr(config, key) == written
        assert isinstance(written, bool) == (key == "early_end" and written is not None)
    if config.threshold is not None:
        low, high = config.head.range
        assert low <= config.threshold < high
        assert low < config.threshold or not config.head.is_probability
    if isinstance(given["goals"], list):
        texts = [
            text
            for goal in (*given["goals"], *(given.get("evaluation_goals") or ()))
            for text in ([goal["text"]] if isinstance(goal, dict) else expanded(goal))
        ]
        assert list(config.goal_set.texts) == texts
    for goal in config.goal_set.goals:
        assert goal.prompt.strip()
        assert goal.prompt not in tuple(goal.negatives)
        assert goal.baseline != goal.prompt
        assert goal.negatives or not config.head.needs_negatives
    for name, least in (("num_actors", 1), ("cache_frames", 0), ("max_in_flight", 1)):
        assert getattr(config.serving, name) >= least
    for value in (config.serving.timeout_s, config.stalled_seconds, config.env_reward_weight):
        assert abs(value) < float("inf")


@given(rewards())
@any_example
def test_any_reward_is_read_as_it_is_written_or_refused_with_a_remedy(written):
    try:
        text = dump_settings(written)
        given = parse_settings(text)
        config = VLMRewardConfig.model_validate(given)
    except (*ERRORS, pydantic.ValidationError) as error:
        assert_helps(error)
    else:
        check_reward(config, given)


@given(newer_rewards())
@any_example
def test_any_newer_reward_is_read_as_it_is_written_or_refused_with_a_remedy(written):
    try:
        given = parse_settings(dump_settings(written))
        config = VLMRewardConfig.model_validate(given)
        rater = config.rater
    except (*ERRORS, pydantic.ValidationError) as error:
        assert_helps(error)
        return
    assert VLMRewardConfig.from_yaml(config.to_yaml()) == config
    assert config.reward_settings == VLMRewardConfig.from_yaml(config.to_yaml()).reward_settings
    if given.get("experts"):
        assert [expert.name for expert in rater.experts] == [*given["experts"]]
    if isinstance(given.get("goal_map"), list):
        assert not any(isinstance(each, bool) for each in given["goal_map"])
        assert list(config.map_size) == given["goal_map"]
    bonus = given.get("bonus")
    if bonus:
        assert config.bonus.weight == bonus["weight"]
        assert not isinstance(bonus["weight"], bool)
        if isinstance(bonus.get("centre"), list):
            assert list(config.bonus.centre) == bonus["centre"]


YAML = yaml.safe_dump(REWARD, sort_keys=False)
SIGNS = [
    *"{}[]:,#&*!|>'\"%@`-?~\\=. \n\t\0é🤖",
    *("<<: ", "- ", ": ", "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!bool ", "!!set "),
    *("!!python/object:os.system ", "&a ", "*a", "---\n", "...\n", "%YAML 9.9\n", "2024-13-45"),
    *('"\\ud800"', '"\\UFFFFFFFF"', '"\\x00"', "0b2", "0o8", "1:99", "9" * 5000, "[" * 3000),
    *("{a: " * 500, "yes", "~", "\ufeff", "\x85", "\u2028", "\x07"),
]


@st.composite
def damaged(draw):
    """The text of a configuration in which a few signs were typed, or a part was left out."""
    text = YAML
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        until = at + draw(st.sampled_from([0, 0, 0, 1, 2, 30]))
        text = text[:at] + draw(st.sampled_from(SIGNS) | st.text(max_size=5)) + text[until:]
    return text


@given(damaged())
@any_example
def test_any_text_is_read_or_refused_with_a_remedy(text):
    try:
        given = parse_settings(text)
        config = VLMRewardConfig.from_yaml(text)
    except (*ERRORS, pydantic.ValidationError) as error:
        assert_helps(error)
    else:
        check_reward(config, given)
