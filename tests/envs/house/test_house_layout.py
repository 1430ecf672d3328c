"""New houses: everything has its place, and the agent reaches it."""

import math
from itertools import combinations

import numpy as np
import pytest

from rllib_vlm_reward.envs.house.camera import HEIGHT
from rllib_vlm_reward.envs.house.grid import Grid
from rllib_vlm_reward.envs.house.ground_truth import GAP, NEAR
from rllib_vlm_reward.envs.house.layout import MOST_A_ROOM, draw_scene
from rllib_vlm_reward.envs.house.scene import AGENT_RADIUS, REACH
from rllib_vlm_reward.envs.house.things import COLORS, KINDS


def test_there_are_28_kinds_that_the_camera_looks_down_on():
    assert len(KINDS) == 28
    assert {kind.color for kind in KINDS.values()} == {*COLORS, None}
    assert max(kind.height for kind in KINDS.values()) < HEIGHT


@pytest.mark.parametrize("num_rooms", [1, 2, 4])
def test_nothing_touches_and_no_goal_is_reached_at_the_start(num_rooms):
    rng = np.random.default_rng(num_rooms)
    for _ in range(15):
        names = rng.choice(list(KINDS), MOST_A_ROOM * num_rooms, replace=False).tolist()
        scene = draw_scene(rng, num_rooms=num_rooms, names=names)
        assert [kind.name for kind in scene.kinds] == names
        assert scene.is_free(scene.agent.x, scene.agent.z, AGENT_RADIUS)
        for one, other in combinations(range(len(names)), 2):
            gap = math.dist(scene.places[one], scene.places[other])
            assert gap > scene.kinds[one].radius + scene.kinds[other].radius + GAP
        for place, kind in zip(scene.places, scene.kinds, strict=True):
            assert math.dist(place, scene.agent[:2]) > NEAR
            assert any(
                room.min_x + kind.radius < place[0] < room.max_x - kind.radius
                and room.min_z + kind.radius < place[1] < room.max_z - kind.radius
                for room in scene.plan.rooms
            )


def test_a_seed_gives_one_house():
    def drawn(seed):
        return draw_scene(np.random.default_rng(seed), num_rooms=2, names=["cone", "desk"])

    assert (drawn(3).plan, drawn(3).places, drawn(3).agent) == (
        drawn(3).plan,
        drawn(3).places,
        drawn(3).agent,
    )
    assert drawn(3).places != drawn(4).places


def test_the_grid_is_free_where_the_agent_stands_free():
    scene = draw_scene(np.random.default_rng(0), num_rooms=2, names=["cone", "desk", "tree"])
    grid = Grid(scene)
    low_x, _, low_z, _ = scene.plan.bounds
    for (column, row), free in np.ndenumerate(grid.free):
        x, z = low_x + (column + 0.5) * 0.1, low_z + (row + 0.5) * 0.1
        assert free == scene.is_free(x, z, AGENT_RADIUS)


def test_a_closed_door_cuts_a_room_off(hall):
    scene = hall(agent=(1.0, 4.0, 0.0), cone=(3.0, 0.0))
    assert Grid(scene).connects(scene.agent, scene.places[0], REACH)
    # Fifteen barrels from wall to wall.
    scene.kinds += (KINDS["blue barrel"],) * 15
    scene.places += [(4.0, 0.3 + 0.53 * row) for row in range(15)]
    scene.headings += [0.0] * 15
    assert not Grid(scene).connects(scene.agent, scene.places[0], REACH)


def test_distances_are_those_of_the_walk(hall):
    scene = hall(agent=(1.0, 4.0, 0.0), cone=(3.0, 0.0))
    grid = Grid(scene)
    field = grid.distances(scene.places[0], REACH)
    assert grid.at(field, 1.0, 4.0) == pytest.approx(7 - 1 - REACH, abs=0.15)
    assert grid.at(field, 6.2, 4.0) == 0
