"""The drawn frame against MiniGrid's own rendering, pixel by pixel."""

import contextlib
import io

import gymnasium as gym
import minigrid  # noqa: F401  (registers its levels)
import numpy as np
import pytest

from rllib_vlm_reward.envs.babyai.tiles import draw_tiles

HAND = np.s_[-8:, 24:32]
LEVELS = {
    "BabyAI-GoTo-v0": {},  # a maze of rooms with doors
    "BabyAI-PickupLoc-v0": {},
    "BabyAI-UnlockPickup-v0": {},  # locked doors
    "rllib_vlm_reward/Lift-v0": {"room_size": 8, "num_objects": 6},
    "rllib_vlm_reward/Place-v0": {"room_size": 5, "num_objects": 4},
}


def wander(name, steps, seed=0):
    """Yield (level, view) at random play with all seven actions of MiniGrid."""
    with contextlib.redirect_stdout(io.StringIO()):
        level = gym.make(name, disable_env_checker=True, **LEVELS[name]).unwrapped
        level.reset(seed=seed)
    rng = np.random.default_rng(seed)
    chances = np.array([2, 2, 4, 2, 1, 2, 0]) / 13
    for _ in range(steps):
        observation, *_ = level.step(rng.choice(7, p=chances))
        yield level, observation["image"]


def tiles(frame):
    """uint8 [H, W, 3] as [rows, columns, 8, 8, 3]."""
    rows, columns = frame.shape[0] // 8, frame.shape[1] // 8
    return frame.reshape(rows, 8, columns, 8, 3).swapaxes(1, 2)


@pytest.mark.parametrize("name", LEVELS)
def test_frame_is_minigrids_but_for_the_hand(name):
    carried = 0
    for level, view in wander(name, 250):
        frame, reference = draw_tiles(view), level.get_pov_render(tile_size=8)
        if level.carrying is not None:
            carried += 1
            frame, reference = frame.copy(), reference.copy()
            frame[HAND] = reference[HAND] = 0
        np.testing.assert_array_equal(frame, reference)
    assert carried > 0 or name.startswith("BabyAI")


def test_the_hand_shows_what_is_carried():
    for level, view in wander("rllib_vlm_reward/Lift-v0", 300):
        if level.carrying is None:
            continue
        thing = level.carrying.encode()
        elsewhere = view.copy()
        elsewhere[0, 0] = thing
        frame = draw_tiles(elsewhere)
        np.testing.assert_array_equal(frame[HAND], frame[:8, :8])
        return
    pytest.fail("nothing was carried in 300 steps")


def test_doors_are_seen():
    views = np.stack([view for _, view in wander("BabyAI-GoTo-v0", 250)])
    assert (views[..., 0] == 4).any()


@pytest.mark.parametrize("tile_size", [1, 8, 11])
def test_many_views_at_once_are_each_view(tile_size):
    views = np.stack([view for _, view in wander("rllib_vlm_reward/Place-v0", 12)])
    one_by_one = np.stack([draw_tiles(view, tile_size) for view in views])
    np.testing.assert_array_equal(draw_tiles(views, tile_size), one_by_one)
    grid = draw_tiles(views.reshape(3, 4, 7, 7, 3), tile_size)
    np.testing.assert_array_equal(grid.reshape(one_by_one.shape), one_by_one)


def test_the_view_is_left_as_it_was():
    _, view = next(wander("rllib_vlm_reward/Lift-v0", 1))
    before = view.copy()
    draw_tiles(view)
    np.testing.assert_array_equal(view, before)


def test_a_narrow_view_has_its_own_hand():
    view = np.ones((3, 3, 3), np.uint8)
    view[1, 2] = (6, 0, 0)  # a red ball, held
    drawn = tiles(draw_tiles(view))
    others = drawn.reshape(9, -1)[[i for i in range(9) if i != 7]]
    assert (others == others[0]).all()
    assert (drawn[2, 1] != drawn[0, 0]).any()
