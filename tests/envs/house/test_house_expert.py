"""The expert: its plans lead to the goal, and it recovers when it is not followed."""

import math

import numpy as np
import pytest

from rllib_vlm_reward.envs.house.expert import Expert, plan
from rllib_vlm_reward.envs.house.ground_truth import NEAR, accomplished
from rllib_vlm_reward.envs.house.layout import draw_scene
from rllib_vlm_reward.envs.house.mission import FORMS, Mission
from rllib_vlm_reward.envs.house.scene import STEP, Action
from rllib_vlm_reward.envs.house.things import KINDS

FAMILIES = pytest.mark.parametrize("family", FORMS)
LIMIT = 120  # steps of an episode in two rooms


def episode(family, seed, num_rooms=2):
    """Return a new house of seven things and a goal in it."""
    rng = np.random.default_rng(seed)
    names = rng.choice(list(KINDS), 7 if num_rooms > 1 else 4, replace=False).tolist()
    mission = Mission.of(family, names[: FORMS[family].count("{}")])
    return draw_scene(rng, num_rooms=num_rooms, names=names), mission


def play(scene, mission, seed, noise):
    """Follow the advice, now and then not; return whether the goal is reached in time."""
    expert, rng = Expert(scene, mission), np.random.default_rng(seed)
    for _ in range(LIMIT):
        advice = expert.advise()
        if accomplished(scene, mission):
            return True
        detour = rng.integers(3) if advice is None or rng.random() < noise else advice
        scene.act(detour)
        expert.see(detour)
    return False


@FAMILIES
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_it_reaches_the_goal_in_95_of_100_episodes(family, noise, long_form):
    number = 100 if long_form else 6
    reached = [play(*episode(family, seed), seed, noise) for seed in range(number)]
    assert np.mean(reached) >= 0.95


@FAMILIES
def test_each_step_of_a_plan_leaves_one_less_to_go(family):
    scene, mission = episode(family, 1)
    expert = Expert(scene, mission)
    left = [expert.steps_to_go()]
    while (action := expert.advise()) is not None:
        scene.act(action)
        expert.see(action)
        left.append(expert.steps_to_go())
    assert left == [*range(len(left) - 1, -1, -1)]
    assert len(left) > 3


def test_a_straight_way_is_as_short_as_it_can_be(hall):
    scene = hall(agent=(1.0, 4.0, 0.0), cone=(3.1, 0.0))
    way = plan(scene, Mission.of("find", ["cone"]))
    assert way == [Action.FORWARD] * math.ceil((6.1 - NEAR) / STEP)


def test_what_is_in_the_hands_already_is_used(hall):
    scene = hall(carried=0, duckie=(0.0, 0.0), cone=(1.5, 0.0))
    both = Mission.of("place", ["duckie", "cone"])
    assert Action.PICK_UP not in plan(scene, both)
    assert plan(scene, both)[-1] == Action.DROP
    assert plan(scene, Mission.of("lift", ["duckie"])) == []


def test_a_wrong_thing_in_the_hands_is_dropped_first(hall):
    scene = hall(carried=2, duckie=(1.5, 0.0), cone=(-1.5, 0.0), potion=(0.0, 0.0))
    way = plan(scene, Mission.of("place", ["duckie", "cone"]))
    assert [action for action in way if action > 2] == [
        Action.DROP,
        Action.PICK_UP,
        Action.DROP,
    ]


def test_there_is_no_plan_after_a_wrong_lift_or_without_a_drop(hall):
    scene = hall(carried=1, duckie=(1.5, 0.0), cone=(0.0, 0.0))
    assert plan(scene, Mission.of("lift", ["duckie"])) is None
    assert Expert(scene, Mission.of("lift", ["duckie"])).steps_to_go() == math.inf
    scene.carried = 0
    assert plan(scene, Mission.of("find", ["duckie"]), can_drop=False) is None
    assert plan(scene, Mission.of("find", ["duckie"]))


def test_planning_changes_nothing():
    scene, mission = episode("place", 3)
    before = (scene.agent, [*scene.places], scene.carried)
    plan(scene, mission)
    assert (scene.agent, scene.places, scene.carried) == before
