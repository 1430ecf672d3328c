"""Lays out a house: draws rooms, things and the agent's pose."""

import math
from collections.abc import Sequence

import numpy as np

from rllib_vlm_reward.envs.house.floor_plan import FloorPlan
from rllib_vlm_reward.envs.house.grid import CELL, Grid
from rllib_vlm_reward.envs.house.scene import AGENT_RADIUS, REACH, Pose, Scene
from rllib_vlm_reward.envs.house.things import KINDS

__all__ = ["MOST_A_ROOM", "draw_scene"]

APART = 1.15  # metres between the centres of two things
FROM_WALL = 0.15  # metres between a thing and a wall, or the way through a door
DOOR_WAY = 0.75  # metres from a door's middle to a thing
START = 1.5  # metres from the agent to the nearest thing
MOST_A_ROOM = 5
"""How many things a room takes."""

_TRIES = 60


def draw_scene(rng: np.random.Generator, *, num_rooms: int, names: Sequence[str]) -> Scene:
    """Draw a house with these things, all of which the agent can reach.

    Args:
        rng: source of randomness.
        num_rooms: number of rooms.
        names: names of the things, keys of :data:`~rllib_vlm_reward.envs.house.things.KINDS`, at
            most :data:`MOST_A_ROOM` a room.

    Example:
        >>> scene = draw_scene(np.random.default_rng(0), num_rooms=2, names=["cone", "duckie"])
        >>> [kind.name for kind in scene.kinds], scene.carried
        (['cone', 'duckie'], None)
    """
    while True:
        plan = FloorPlan.draw(rng, num_rooms)
        for _ in range(_TRIES):
            scene = _furnish(rng, plan, names)
            if scene is not None and _all_reached(scene):
                return scene


def _furnish(rng: np.random.Generator, plan: FloorPlan, names: Sequence[str]) -> Scene | None:
    """Return a scene with things and agent at random places; None if one finds no place."""
    kinds = tuple(KINDS[name] for name in names)
    places: list[tuple[float, float]] = []
    for kind in kinds:
        place = _place(rng, plan, kind.radius + FROM_WALL, places, APART)
        if place is None:
            return None
        places.append(place)
    start = _place(rng, plan, AGENT_RADIUS + 0.05, places, START)
    if start is None:
        return None
    return Scene(
        plan,
        kinds,
        places,
        rng.uniform(0, 2 * math.pi, len(kinds)).tolist(),
        Pose(*start, float(rng.uniform(0, 2 * math.pi))),
    )


def _place(
    rng: np.random.Generator,
    plan: FloorPlan,
    margin: float,
    others: Sequence[tuple[float, float]],
    apart: float,
) -> tuple[float, float] | None:
    """Draw a place in some room, so far from the walls and from other places."""
    for _ in range(_TRIES):
        room = plan.rooms[int(rng.integers(len(plan.rooms)))]
        x = float(rng.uniform(room.min_x + margin, room.max_x - margin))
        z = float(rng.uniform(room.min_z + margin, room.max_z - margin))
        if all(math.hypot(x - a, z - b) >= apart for a, b in others) and all(
            math.hypot(x - a, z - b) >= DOOR_WAY for a, b in (door.centre for door in plan.doors)
        ):
            return x, z
    return None


def _all_reached(scene: Scene) -> bool:
    """Return whether the agent can walk to where it reaches each thing."""
    grid = Grid(scene)
    return all(grid.connects(scene.agent, place, REACH - CELL) for place in scene.places)
