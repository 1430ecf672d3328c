"""Ground truth against a count in pictures, in which the thing is drawn and left out.

By default a few hundred steps; `pytest --full-matrix` plays 5,000 a family.
"""

import dataclasses
import math

import numpy as np
import pytest

from rllib_vlm_reward.envs.house import renderer as drawing
from rllib_vlm_reward.envs.house.camera import FIELD
from rllib_vlm_reward.envs.house.floor_plan import FloorPlan, Room
from rllib_vlm_reward.envs.house.ground_truth import GAP, NEAR, accomplished
from rllib_vlm_reward.envs.house.renderer import Renderer

pytestmark = pytest.mark.house
PLAIN = FloorPlan((Room(-60.0, 60.0, -60.0, 60.0, "stucco", "grass"),), ())
WIDER = 4  # times the frame's side
SIDE = 96  # of the picture from above


@pytest.fixture(scope="module")
def steps(long_form):
    return 5000 if long_form else 200


def changed(renderer, scene, index, top=False):
    """Return the pixels that a thing changes."""
    draw = renderer.draw_top if top else renderer.draw
    return (draw(scene) != draw(scene, without=[index])).any(axis=-1)


@pytest.fixture(scope="module")
def whole():
    """Returns a function: how many pixels a thing has alone, and were the frame larger."""
    wide = Renderer(64 * WIDER)
    field = 2 * math.atan(WIDER * math.tan(FIELD / 2))  # with pixels of the same size

    def count(scene, index):
        alone = dataclasses.replace(
            scene,
            plan=PLAIN,
            kinds=scene.kinds[index : index + 1],
            places=scene.places[index : index + 1],
            headings=scene.headings[index : index + 1],
            carried=None,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drawing, "FIELD", field)
            return changed(wide, alone, 0).sum()

    return count


def test_find_is_what_the_frame_shows(played, steps, whole):
    """Near by the state: at least 100 pixels. Not near though so close: less than 60 % of them."""
    successes = close = 0
    for env in played(steps, families=("find", "lift", "place")):
        scene = env.scene
        for index in scene.lying():
            if math.dist(scene.agent[:2], scene.places[index]) > NEAR:
                continue
            env.mission = dataclasses.replace(env.mission, family="find")
            turned = with_first(scene, index)
            shown = changed(env._renderer, turned, 0).sum()
            if accomplished(turned, env.mission):
                assert shown >= 100
                successes += 1
            else:
                assert shown <= 0.6 * whole(turned, 0)
                close += 1
    assert min(successes, close) > steps / 20


def with_first(scene, index):
    """Return the same scene, in which a thing is the first: that of the goal."""
    order = [index, *(i for i in range(len(scene.kinds)) if i != index)]
    return dataclasses.replace(
        scene,
        kinds=tuple(scene.kinds[i] for i in order),
        places=[scene.places[i] for i in order],
        headings=[scene.headings[i] for i in order],
        carried=None if scene.carried is None else order.index(scene.carried),
    )


def test_a_far_thing_is_no_success_however_well_it_is_seen(played, steps):
    far = 0
    for env in played(steps, seed=1, families=("find",)):
        if math.dist(env.scene.agent[:2], env.scene.places[0]) > NEAR:
            assert not accomplished(env.scene, env.mission)
            far += 1
    assert far > steps / 4


def test_lift_is_what_the_frame_shows_in_the_hand(played, steps):
    """Where nothing else can be: the pixels of the hand change, and those above from nothing."""
    outcomes = []
    for env in played(steps, seed=2, families=("lift", "place")):
        env.mission = dataclasses.replace(env.mission, family="lift")
        pixels = changed(env._renderer, env.scene, 0)
        from_above = changed(env._renderer, env.scene, 0, top=True)
        shown = pixels.sum() >= 50 and not from_above.any()
        assert accomplished(env.scene, env.mission) == shown
        outcomes.append(shown)
    assert 10 < sum(outcomes) < steps - 10


def test_place_is_what_a_picture_from_above_shows(played, steps):
    """The gap between the middles of two things, measured there."""
    outcomes, view = [], Renderer(SIDE)
    for env in played(steps, seed=3, random=0.15, families=("place",)):
        scene, success = env.scene, accomplished(env.scene, env.mission)
        middles = [middle(changed(view, scene, index, top=True)) for index in (0, 1)]
        if None in middles:  # one is carried
            assert not success
            continue
        half = drawing.top_view(scene.plan)[2]
        metres = math.dist(*middles) * 2 * half / SIDE
        gap = metres - scene.kinds[0].radius - scene.kinds[1].radius
        if abs(gap - GAP) > 0.15:  # shape and pixels move the middle
            assert success == (gap < GAP)
        outcomes.append(success)
    assert 5 < sum(outcomes) < steps - 5


def middle(pixels):
    if not pixels.any():
        return None
    rows, columns = np.nonzero(pixels)
    return (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
