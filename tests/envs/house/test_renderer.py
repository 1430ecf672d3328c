"""Frames: the same for the same state, whoever else draws; what is carried stays in view."""

import gc

import numpy as np
import pytest

from rllib_vlm_reward.envs.house.layout import draw_scene
from rllib_vlm_reward.envs.house.opengl import open_gl
from rllib_vlm_reward.envs.house.renderer import Renderer
from rllib_vlm_reward.envs.house.things import KINDS

pytestmark = pytest.mark.house


def house(seed, num_rooms=2):
    rng = np.random.default_rng(seed)
    names = rng.choice(list(KINDS), 4, replace=False).tolist()
    return draw_scene(rng, num_rooms=num_rooms, names=names)


def test_two_renderers_draw_what_one_draws():
    """MiniWorld's envs share a display list, so that one draws the other's walls."""
    scenes = [house(0), house(1)]
    alone = []
    for scene in scenes:
        renderer = Renderer(64)
        alone.append(renderer.draw(scene))
        renderer.close()
    pair = Renderer(64), Renderer(64)
    for _ in range(2):
        for renderer, scene, frame in zip(pair, scenes, alone, strict=True):
            np.testing.assert_array_equal(renderer.draw(scene), frame)
    assert (alone[0] != alone[1]).any()
    pair[0].close()
    np.testing.assert_array_equal(pair[1].draw(scenes[1]), alone[1])


def test_one_renderer_draws_house_after_house():
    scenes, renderer = [house(seed) for seed in range(3)], Renderer(64)
    first = [renderer.draw(scene) for scene in scenes]
    for scene, frame in zip(scenes[::-1], first[::-1], strict=True):
        np.testing.assert_array_equal(renderer.draw(scene), frame)


def test_the_camera_stays_as_it_is_for_a_whole_turn():
    scene, renderer = house(2), Renderer(64)
    frames = [renderer.draw(scene)]
    for _ in range(12):
        scene.turn(1)
        frames.append(renderer.draw(scene))
    # The heading is the same but for rounding.
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() < 0.5
    assert all((frames[0] != frame).any() for frame in frames[1:-1])


@pytest.mark.parametrize("size", [32, 64, 96])
def test_size_is_that_of_the_frame(size):
    frame = Renderer(size).draw(house(0))
    assert frame.shape == (size, size, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 5


@pytest.mark.parametrize("name", KINDS)
def test_what_is_carried_is_seen_in_the_lower_right(hall, name):
    renderer = Renderer(64)
    scene = hall(carried=0, **{name.replace(" ", "_"): (0.0, 0.0)})
    changed = (renderer.draw(scene) != renderer.draw(scene, without=[0])).any(axis=-1)
    assert changed.sum() >= 50
    assert changed[32:, 32:].sum() == changed.sum()
    for _ in range(3):
        scene.turn(1)
        again = (renderer.draw(scene) != renderer.draw(scene, without=[0])).any(axis=-1)
        assert (again != changed).sum() <= 12


def test_nothing_near_hides_what_is_carried(hall):
    renderer = Renderer(64)
    scene = hall(carried=0, duckie=(0.0, 0.0), tree=(0.55, 0.35))
    alone = hall(carried=0, duckie=(0.0, 0.0))
    changed = [
        (renderer.draw(it) != renderer.draw(it, without=[0])).any(axis=-1).sum()
        for it in (scene, alone)
    ]
    assert changed[0] == pytest.approx(changed[1], abs=12)


def test_walls_are_drawn_from_inside_of_every_room():
    """Nobody sees the sky but above a door or a wall, wherever the agent stands and looks."""
    renderer = Renderer(64)
    for seed in range(4):
        scene = house(seed, num_rooms=3)
        for room in scene.plan.rooms:
            middle = (room.min_x + room.max_x) / 2, (room.min_z + room.max_z) / 2
            scene.agent = scene.agent._replace(x=middle[0], z=middle[1])
            for _ in range(12):
                scene.turn(1)
                frame = renderer.draw(scene)
                blue = np.abs(frame.astype(int) - (64, 153, 230)).max(axis=-1) < 3
                assert blue.sum() == 0


def test_from_above_every_thing_is_seen_where_it_is():
    renderer = Renderer(256)
    scene = house(5)
    low_x, high_x, low_z, high_z = scene.plan.bounds
    half = max(high_x - low_x, high_z - low_z) / 2 + 0.3
    frame = renderer.draw_top(scene)
    for index, (x, z) in enumerate(scene.places):
        changed = (frame != renderer.draw_top(scene, without=[index])).any(axis=-1)
        rows, columns = np.nonzero(changed)
        column = (x - (low_x + high_x) / 2 + half) / (2 * half) * 256
        row = (z - (low_z + high_z) / 2 + half) / (2 * half) * 256
        reach = (scene.kinds[index].radius + 0.2) / (2 * half) * 256
        assert np.hypot(columns - column, rows - row).max() < reach


@pytest.mark.parametrize("forget", [False, True], ids=["close", "forget"])
def test_a_renderer_leaves_no_display_list_behind(forget):
    renderer, opened = Renderer(64), open_gl()
    renderer.draw(house(0))
    (number,) = renderer._walls
    assert opened.gl.glIsList(number)
    if not forget:
        renderer.close()
    del renderer
    gc.collect()
    assert not opened.gl.glIsList(number)
