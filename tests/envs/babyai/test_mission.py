"""Missions in words: what can be read, and what is said of the rest."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.envs.babyai.captions import TEMPLATES
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.envs.babyai.mission import FORMS, Mission
from rllib_vlm_reward.errors import GoalError

THINGS = [(kind, color) for color in COLORS for kind in KINDS]
BALLS = [("ball", "red"), ("ball", "blue")]


@st.composite
def missions(draw):
    """A text with articles of its own, its family and what it names."""
    family = draw(st.sampled_from(sorted(FORMS)))
    number = FORMS[family].count("{}")
    named = draw(st.lists(st.sampled_from(THINGS), min_size=number, max_size=number, unique=True))
    articles = draw(st.lists(st.sampled_from(("a", "the")), min_size=number, max_size=number))
    words = [f"{a} {color} {kind}" for a, (kind, color) in zip(articles, named, strict=True)]
    return FORMS[family].format(*words), family, tuple(named)


@given(missions())
def test_a_mission_is_read_with_either_article(mission):
    text, family, named = mission
    assert Mission.read(text, list(FORMS), THINGS) == Mission(text, family, named)


@given(missions())
def test_a_mission_has_a_success_state(mission):
    text, family, _ = mission
    assert TEMPLATES[family].fill(text)


@pytest.mark.parametrize(
    ("text", "fault", "close"),
    [
        ("lift the red ball", "another form", "pick up the red ball"),
        ("go to the red ball", "another form", "pick up the red ball"),
        ("pick up red ball", "another form", "pick up the red ball"),
        ("pick up the ball", "another form", "pick up the red ball"),
        ("Pick up the red ball", "another form", "pick up the red ball"),
        ("pick up the red ball ", "another form", "pick up the red ball"),
        ("", "another form", ""),
        ("pick up the rad ball", "the colour 'rad', expected one of ['blue', 'red']", "red ball"),
        ("pick up a grey ball", "the colour 'grey', expected one of ['blue', 'red']", "ball"),
        ("pick up the red box", "the kind 'box', expected one of ['ball']", "red ball"),
        ("put a red ball next to the red ball", "same thing twice", "put the red ball next to the"),
        ("put a red ball next to a red key", "the kind 'key'", "put the red ball next to the"),
    ],
)
def test_the_fault_is_named_and_so_is_the_closest_mission(text, fault, close):
    families = ["place"] if text.startswith("put") else ["lift"]
    with pytest.raises(GoalError, match=re.escape(f"goal {text!r}: got ")) as caught:
        Mission.read(text, families, BALLS)
    told = str(caught.value)
    assert fault in told
    closest = re.search(r"this level is '(.*)'\.$", told)[1]
    assert close in closest
    assert Mission.read(closest, families, BALLS)


@given(st.text(max_size=40))
def test_any_other_text_is_an_error_that_names_a_mission(text):
    with pytest.raises(GoalError) as caught:
        Mission.read(text, list(FORMS), BALLS)
    assert Mission.read(str(caught.value).rsplit("'", 2)[1], list(FORMS), BALLS)
