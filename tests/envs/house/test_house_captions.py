"""The statements about a frame: true of the state, seen in the picture, and never both unclear."""

import numpy as np
import pytest

from rllib_vlm_reward.envs.captions import Statements
from rllib_vlm_reward.envs.house import captions as house_captions
from rllib_vlm_reward.envs.house.captions import TEMPLATES, visible_pixels
from rllib_vlm_reward.envs.house.ground_truth import accomplished, is_near
from rllib_vlm_reward.envs.house.mission import FORMS, Mission
from rllib_vlm_reward.envs.house.renderer import Renderer
from rllib_vlm_reward.envs.house.things import KINDS
from rllib_vlm_reward.goals import wordings

pytestmark = pytest.mark.house

KNOWN = Statements(TEMPLATES, tuple(KINDS))


def captions(scene, renderer):
    """The captions with each statement in its first wording."""
    said = house_captions.captions(scene, renderer, KNOWN)
    return [
        {family: {wordings(text)[0] for text in texts} for family, texts in part.items()}
        for part in said
    ]


@pytest.fixture(scope="module")
def renderer():
    return Renderer(64)


def test_what_a_scene_shows(hall, renderer):
    scene = hall(duckie=(0.9, 0.0), cone=(0.9, 0.8), potion=(3.0, 0.0), desk=(-0.9, 0.0))
    assert captions(scene, renderer)[0] == {
        "find": {"the agent is near a duckie"},
        "lift": {"the agent is carrying nothing"},
        "place": {"a cone is next to a duckie"},
    }
    scene.pick_up()
    scene.places[1] = (4.0, 2.0)
    assert captions(scene, renderer)[0] == {
        "find": {"the agent is near nothing"},
        "lift": {"the agent is carrying a duckie"},
        "place": {"no two things are side by side"},
    }


def test_what_is_hardly_seen_is_unclear(hall, renderer):
    """Turn away from a thing: the statement is true, then unclear, then false."""
    scene, said = hall(red_ball=(0.7, 0.0)), []
    statement, nothing = "the agent is near a red ball", "the agent is near nothing"
    for _ in range(100):
        scene.agent = scene.agent.turned(0.02)
        true, false, unclear = captions(scene, renderer)
        assert sum(statement in part["find"] for part in (true, false, unclear)) == 1
        assert (nothing in unclear["find"]) == (statement in unclear["find"])
        said.append((statement in true["find"], statement in unclear["find"]))
    order = [one for one, before in zip(said, [None, *said], strict=False) if one != before]
    assert order == [(True, False), (False, True), (False, False)]


def test_a_pair_of_which_one_is_out_of_view_is_not_shown(hall, renderer):
    scene = hall(duckie=(0.3, 1.0), cone=(-0.5, 1.0))
    assert captions(scene, renderer)[0]["place"] == {"no two things are side by side"}


def test_goals_that_are_reached_and_seen_are_said(played):
    """With the env's goal as the template words it, at every step."""
    said = {family: [] for family in FORMS}
    for env in played(150, random=0.2, num_rooms=1, num_things=4):
        true, _, unclear = env.captions()
        for family, number in (("find", 1), ("lift", 1), ("place", 2)):
            names = [kind.name for kind in env.scene.kinds[:number]]
            mission = Mission.of(family, names)
            statement = TEMPLATES[family].fill(mission.text)
            holds = accomplished(env.scene, mission)
            mine, perhaps = (
                {text for each in part[family] for text in wordings(each)}
                for part in (true, unclear)
            )
            if statement not in perhaps:
                hidden = family == "place" and holds and statement not in mine
                assert (statement in mine) == holds or hidden
                said[family].append(holds)
    assert all(2 < sum(outcomes) < len(outcomes) for outcomes in said.values())


def test_every_family_says_something_and_nothing_stands_alone(played):
    for env in played(60, seed=5):
        said = env.captions()
        for family, true in said.true.items():
            assert true or said.unclear[family]
            assert TEMPLATES[family].nothing not in true or len(true) == 1
            parts = [part[family] for part in said]
            assert set().union(*parts) == KNOWN.all[family]
            assert sum(map(len, parts)) == len(KNOWN.all[family])


def test_pixels_are_those_that_the_thing_changes(hall, renderer):
    scene = hall(duckie=(1.0, 0.0), cone=(-1.0, 0.0))
    pixels = visible_pixels(scene, renderer, [0, 1])
    assert pixels[0] > 100
    assert pixels[1] == 0
    assert is_near(scene, 0)
    assert not is_near(scene, 1)


def test_larger_frames_say_the_same(hall, renderer):
    large = Renderer(96)
    scene, compared = hall(duckie=(0.9, 0.0), cone=(0.9, 0.8)), 0
    for angle in np.linspace(0, 2 * np.pi, 40):
        scene.agent = scene.agent._replace(heading=angle)
        small, big = captions(scene, renderer), captions(scene, large)
        if not any((*small[2].values(), *big[2].values())):
            assert small[0] == big[0]
            compared += 1
    assert compared > 20
