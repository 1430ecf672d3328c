"""The state: what each action changes, and what is in the way."""

import math

import numpy as np
import pytest

from rllib_vlm_reward.envs.house.floor_plan import FloorPlan
from rllib_vlm_reward.envs.house.layout import draw_scene
from rllib_vlm_reward.envs.house.scene import AGENT_RADIUS, REACH, STEP, TURN, Action, Pose
from rllib_vlm_reward.envs.house.things import KINDS


def test_left_turns_against_z_and_right_turns_back(hall):
    scene = hall()
    scene.act(Action.LEFT)
    assert scene.agent.direction == pytest.approx((math.cos(TURN), -math.sin(TURN)))
    scene.act(Action.RIGHT)
    assert scene.agent == pytest.approx((4, 4, 0))


def test_twelve_turns_are_a_whole_one(hall):
    scene = hall()
    for _ in range(12):
        scene.act(Action.LEFT)
    assert scene.agent.direction == pytest.approx((1, 0))


def test_a_step_goes_ahead_until_a_thing_is_in_the_way(hall):
    scene = hall(red_ball=(1.3, 0.0))
    free = 1.3 - AGENT_RADIUS - KINDS["red ball"].radius
    steps = [scene.step() for _ in range(5)]
    assert steps == [True] * int(free / STEP) + [False] * (5 - int(free / STEP))
    assert scene.agent.x == pytest.approx(4 + int(free / STEP) * STEP)


def test_nobody_leaves_a_house_but_through_doors():
    """Walks that turn where they bump stay in rooms, and change rooms only where a door is."""
    rng = np.random.default_rng(0)
    passed = 0
    for seed in range(6):
        scene = draw_scene(np.random.default_rng(seed), num_rooms=3, names=["cone", "duckie"])
        before = room_of(scene)
        for _ in range(400):
            if not scene.step() or rng.random() < 0.1:
                for _ in range(rng.integers(1, 7)):
                    scene.turn(1)
            now = room_of(scene)
            assert now is not None
            if now != before:
                doors = [d for d in scene.plan.doors if {now, before} == set(d.rooms)]
                assert min(math.dist(scene.agent[:2], d.centre) for d in doors) < 1
                passed += 1
            before = now
    assert passed > 3


def room_of(scene):
    x, z, _ = scene.agent
    for index, room in enumerate(scene.plan.rooms):
        if room.min_x <= x < room.max_x and room.min_z <= z < room.max_z:
            return index
    return None


@pytest.mark.parametrize(
    ("angle", "distance", "taken"),
    [(0, 0.9, True), (0, REACH + 0.01, False), (35, 0.9, True), (-35, 0.9, True), (45, 0.9, False)],
)
def test_reach(hall, angle, distance, taken):
    x, z = distance * math.cos(math.radians(angle)), -distance * math.sin(math.radians(angle))
    scene = hall(duckie=(x, z))
    assert scene.pick_up() == (0 if taken else None)
    assert scene.carried == (0 if taken else None)


def test_the_nearest_thing_is_picked_up_and_only_one(hall):
    scene = hall(duckie=(0.9, 0.2), cone=(0.7, -0.2))
    assert scene.pick_up() == 1
    assert scene.pick_up() is None
    assert scene.carried == 1
    assert scene.lying() == [0]


def test_nothing_is_reached_or_put_down_through_a_wall():
    plan = FloorPlan.draw(np.random.default_rng(0), 2)
    (door,) = plan.doors
    shared = next(
        wall
        for wall in plan.walls
        if (wall[0] == wall[2] == door.at or wall[1] == wall[3] == door.at)
    )
    x, z = (shared[0] + shared[2]) / 2, (shared[1] + shared[3]) / 2
    along_z = shared[0] == shared[2]
    before = (x - 0.35, z) if along_z else (x, z - 0.35)
    behind = (x + 0.35, z) if along_z else (x, z + 0.35)
    agent = Pose(*before, 0.0 if along_z else -math.pi / 2)
    scene = draw_scene(np.random.default_rng(0), num_rooms=1, names=["duckie", "cone"])
    scene.plan, scene.agent, scene.places = plan, agent, [behind, (99.0, 99.0)]
    assert math.dist(before, behind) < REACH
    assert scene.is_walled(before, behind)
    assert scene.in_reach(agent) is None
    scene.carried = 0
    assert not scene.drop()
    assert scene.carried == 0


def test_a_thing_is_put_down_ahead_where_there_is_room(hall):
    scene = hall(carried=0, duckie=(0.0, 0.0), cone=(0.6, 0.0))
    assert not scene.drop()
    assert scene.carried == 0
    scene.turn(1)
    scene.turn(1)
    scene.turn(1)
    assert scene.drop()
    assert scene.carried is None
    x, z = scene.places[0]
    assert x == pytest.approx(4)
    assert 3.2 < z < 3.5
    assert scene.pick_up() == 0


def test_what_is_carried_is_in_nobodys_way(hall):
    scene = hall(carried=0, duckie=(0.6, 0.0))
    assert scene.step()


def test_a_copy_changes_alone(hall):
    scene = hall(duckie=(0.9, 0.0))
    other = scene.copy()
    other.pick_up()
    other.turn(1)
    other.drop()
    assert scene.carried is None
    assert scene.agent == Pose(4, 4, 0)
    assert scene.places == [(4.9, 4.0)]
