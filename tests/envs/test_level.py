"""The levels: what is in the room, what the mission asks, and what is refused."""

import contextlib
import io

import numpy as np
import pytest
from minigrid.core.actions import Actions
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.level import COLORS, KINDS, Find, Lift, Place
from rllib_vlm_reward.envs.truth import accomplished

FAMILIES = pytest.mark.parametrize("kind", [Find, Lift, Place])


def quiet_reset(level, seed):
    with contextlib.redirect_stdout(io.StringIO()):
        level.reset(seed=seed)


def things(level):
    return [thing for thing in level.grid.grid if thing is not None and thing.type in KINDS]


@FAMILIES
@pytest.mark.parametrize("room_size", [5, 8])
def test_the_bot_reaches_success_in_every_episode(kind, room_size):
    level = kind(room_size=room_size, num_objects=3)
    for seed in range(20):
        quiet_reset(level, seed)
        assert not accomplished(level)
        bot, ended = BabyAIBot(level), False
        while not ended:
            _, reward, terminated, truncated, _ = level.step(bot.replan())
            ended = terminated or truncated
        assert accomplished(level)
        assert reward > 0


@FAMILIES
def test_objects_are_distinct_and_as_many_as_asked(kind):
    level = kind(room_size=7, num_objects=6, colors=("red", "blue"))
    for seed in range(20):
        quiet_reset(level, seed)
        found = [(thing.color, thing.type) for thing in things(level)]
        assert len(found) == len(set(found)) == 6
        assert {color for color, _ in found} == {"red", "blue"}


def test_every_colour_and_kind_is_asked_for():
    level = Lift()
    missions = set()
    for seed in range(300):
        quiet_reset(level, seed)
        missions.add(level.mission)
    assert missions == {f"pick up the {color} {kind}" for color in COLORS for kind in KINDS}


@FAMILIES
def test_a_seed_gives_one_layout_and_another_seed_another(kind):
    def layout(seed):
        level = kind(room_size=8, num_objects=5)
        quiet_reset(level, seed)
        return level.mission, level.agent_pos, level.agent_dir, level.grid.encode().tobytes()

    assert layout(1) == layout(1)
    assert len({layout(seed)[3] for seed in range(10)}) == 10


def test_picking_up_another_object_ends_a_lift_unpaid():
    level = Lift(room_size=6, num_objects=3)
    quiet_reset(level, 0)
    wrong = next(
        thing for thing in things(level) if f"{thing.color} {thing.type}" not in level.mission
    )
    right = level.instrs.desc.obj_set[0]
    for thing, success in ((wrong, False), (right, True)):
        quiet_reset(level, 0)
        thing = level.grid.get(*thing.cur_pos)
        around = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)))
        level.agent_dir, level.agent_pos = next(
            (direction, tuple(thing.cur_pos - step))
            for direction, step in enumerate(around)
            if level.grid.get(*(thing.cur_pos - step)) is None
        )
        _, reward, terminated, _, _ = level.step(Actions.pickup)
        assert terminated
        assert (reward > 0) is success
        assert accomplished(level) is success


@pytest.mark.parametrize("num_objects", [0, 1, 5, 100])
def test_a_room_that_cannot_hold_its_objects_is_refused(num_objects):
    with pytest.raises(ValueError, match=f"num_objects is {num_objects}, expected 2 to 4"):
        Lift(room_size=5, num_objects=num_objects)


def test_more_objects_than_there_are_distinct_ones_is_refused():
    with pytest.raises(ValueError, match="expected 2 to 2: there are 2 distinct objects"):
        Find(room_size=8, num_objects=3, colors=("red",), kinds=("ball", "key"))
