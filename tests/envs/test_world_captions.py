"""Captions from facts, and the wordings of a statement."""

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward import Captions, Statements, Template
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import wordings

NAMES = ("cone", "duckie", "tree")
TEMPLATES = {
    "near": Template("go near {}", "near {}", "near nothing"),
    "beside": Template("put {} by {}", "{} by {}", "all apart", symmetric=True),
    "on": Template("put {} on {}", "{} is on {}"),
}
KNOWN = Statements(TEMPLATES, NAMES)


@given(*[st.sets(st.sampled_from(NAMES)) for _ in range(2)])
def test_each_statement_is_in_one_of_the_three(near, unclear):
    said = KNOWN.captions({"near": [(n,) for n in near]}, {"near": [(n,) for n in unclear]})
    for family, every in KNOWN.all.items():
        parts = [set(part[family]) for part in said]
        assert set().union(*parts) == every
        assert sum(map(len, parts)) == len(every)
    nothing = (not near, bool(near), False) if not unclear - near else (False, bool(near), not near)
    assert tuple("near nothing" in part["near"] for part in said) == nothing


def test_how_many_statements_there_are():
    assert {name: len(every) for name, every in KNOWN.all.items()} == {
        "near": 4,
        "beside": 4,
        "on": 6,
    }


def test_a_symmetric_statement_has_both_orders():
    one = KNOWN.captions({"beside": [("tree", "cone")]}).true["beside"]
    assert one == KNOWN.captions({"beside": [("cone", "tree")]}).true["beside"]
    (statement,) = one
    assert set(wordings(statement)) == {
        f"{one} by {other}"
        for a in ("a", "the")
        for b in ("a", "the")
        for one, other in ((f"{a} cone", f"{b} tree"), (f"{b} tree", f"{a} cone"))
    }


def test_the_words_of_goals_are_wordings():
    """So a CLIP that learnt the wordings knows what a template makes of a goal."""
    for goal in ("go near the cone", "go near a cone"):
        (statement,) = KNOWN.captions({"near": [("cone",)]}).true["near"]
        assert TEMPLATES["near"].fill(goal) in wordings(statement)


def test_nothing_is_known():
    assert KNOWN.unknown() == Captions(
        {name: set() for name in TEMPLATES},
        {name: set() for name in TEMPLATES},
        {name: set(every) for name, every in KNOWN.all.items()},
    )


@pytest.mark.parametrize("text", ["{a|the cone", "a} cone", "{a|a} cone", "{a|{the} cone"])
def test_braces_that_do_not_match_are_an_error(text):
    with pytest.raises(GoalError, match="expected alternatives such as"):
        wordings(text)


@pytest.mark.parametrize("level", ["Find", "Lift", "Place", "Playroom", "Rooms"])
def test_babyais_envs_bring_captions(level):
    env = gym.make(f"rllib_vlm_reward/{level}-v0")
    env.reset(seed=0)
    said = env.get_wrapper_attr("captions")()
    assert said.true.keys() == env.get_wrapper_attr("templates").keys() == {"find", "lift", "place"}
    assert said.true["lift"] == {"the agent is carrying nothing"}
    env.close()


def test_rooms_have_several_sizes_and_only_time_ends_an_episode():
    env = gym.make("rllib_vlm_reward/Rooms-v0")
    steps = []
    for seed in range(20):
        env.reset(seed=seed)
        ends = [env.step(env.unwrapped.expert_action())[2:4] for _ in range(20)]
        assert ends == [(False, False)] * 19 + [(False, True)]
        steps.append(env.unwrapped._room.unwrapped.grid.width)
    assert {*steps} == {5, 6, 7, 8}
    assert env.reset(seed=3)[0].tolist() == env.reset(seed=3)[0].tolist()
    env.close()


@pytest.mark.parametrize(
    "prompt", ["The {} door", "in the {} corner", "a {} on a desk", "near an {}"]
)
def test_an_article_before_a_name_that_gets_one_is_refused(prompt):
    template = Template("go {}", prompt)
    with pytest.raises(GoalError, match=r"no article before a blank.*Remove it, or give articles"):
        Statements({"near": template}, NAMES)
    assert Statements({"near": template}, NAMES, articles="").all["near"]
