"""Rooms: side by side, connected by doors, and closed elsewhere."""

import math

import numpy as np
import pytest

from rllib_vlm_reward.envs.house.floor_plan import DOOR_WIDTH, FloorPlan
from rllib_vlm_reward.envs.house.scene import AGENT_RADIUS

NUMBERS = pytest.mark.parametrize("num_rooms", [1, 2, 3, 4, 6])


def plans(num_rooms, number=20):
    return [FloorPlan.draw(np.random.default_rng(seed), num_rooms) for seed in range(number)]


def length(walls):
    return sum(math.dist(wall[:2], wall[2:]) for wall in walls)


@NUMBERS
def test_every_room_is_reached(num_rooms):
    for plan in plans(num_rooms):
        assert len(plan.rooms) == num_rooms
        reached, fresh = {0}, {0}
        while fresh:
            fresh = {
                b for door in plan.doors for a, b in (door.rooms, door.rooms[::-1]) if a in fresh
            }
            fresh -= reached
            reached |= fresh
        assert reached == set(range(num_rooms))


@NUMBERS
def test_rooms_do_not_overlap(num_rooms):
    for plan in plans(num_rooms):
        for index, one in enumerate(plan.rooms):
            for other in plan.rooms[:index]:
                width = min(one.max_x, other.max_x) - max(one.min_x, other.min_x)
                depth = min(one.max_z, other.max_z) - max(one.min_z, other.min_z)
                assert width <= 0 or depth <= 0


@NUMBERS
def test_walls_are_all_sides_without_the_doors(num_rooms):
    """Counted here from rooms and doors: each side once, also where two rooms share it."""
    for plan in plans(num_rooms):
        sides = {
            side
            for room in plan.rooms
            for side in (
                (room.min_x, room.min_z, room.max_x, room.min_z),
                (room.min_x, room.max_z, room.max_x, room.max_z),
                (room.min_x, room.min_z, room.min_x, room.max_z),
                (room.max_x, room.min_z, room.max_x, room.max_z),
            )
        }
        doors = len(plan.doors) * DOOR_WIDTH
        # A shared wall is in the plan of both rooms, and once among the walls.
        assert length(plan.walls) == pytest.approx(length(sides) - doors)
        for door in plan.doors:
            gap = min(distance(wall, door.centre) for wall in plan.walls)
            assert gap == pytest.approx(DOOR_WIDTH / 2)
            assert gap > AGENT_RADIUS


def distance(wall, place):
    x = np.clip(place[0], wall[0], wall[2])
    z = np.clip(place[1], wall[1], wall[3])
    return math.dist((x, z), place)


def test_houses_differ():
    assert len({plan.rooms for plan in plans(3)}) == 20
    assert {len(plan.doors) for plan in plans(4, 50)} >= {3, 4}
    used = {name for plan in plans(6) for room in plan.rooms for name in (room.wall, room.floor)}
    assert len(used) == 16
