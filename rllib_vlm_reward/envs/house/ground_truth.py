"""Ground truth from the state: what is near, what lies side by side, is the goal reached?"""

import math

from rllib_vlm_reward.envs.house.camera import visible_share
from rllib_vlm_reward.envs.house.mission import Mission
from rllib_vlm_reward.envs.house.scene import Pose, Scene

__all__ = ["GAP", "NEAR", "VISIBLE", "accomplished", "fits_beside", "is_near", "is_next_to"]

NEAR = 1.2  # metres from the agent's centre to that of the thing
VISIBLE = 2 / 3  # the share of a thing that the camera must see
GAP = 0.4  # metres between two things that are next to each other


def accomplished(scene: Scene, mission: Mission) -> bool:
    """Return whether the goal is reached in a state.

    Find: the agent is near the thing, see :func:`is_near`. Lift: the agent carries the thing.
    Place: the two things lie next to each other, see :func:`is_next_to`; which of them was moved
    does not matter, because a picture cannot show it.

    Args:
        scene: the state; the mission's things have the first indices, in the mission's order.
        mission: the goal.
    """
    if mission.family == "find":
        return is_near(scene, 0)
    if mission.family == "lift":
        return scene.carried == 0
    return is_next_to(scene, 0, 1)


def is_near(scene: Scene, index: int, pose: Pose | None = None) -> bool:
    """Return whether the agent is near a thing on the floor, and sees at least two thirds of it.

    Args:
        scene: the state.
        index: the thing.
        pose: where the agent stands; None takes its present pose.
    """
    pose = pose or scene.agent
    x, z = scene.places[index]
    if scene.carried == index or math.hypot(x - pose.x, z - pose.z) > NEAR:
        return False
    return visible_share(scene, index, pose) >= VISIBLE


def is_next_to(scene: Scene, first: int, second: int) -> bool:
    """Return whether two things lie on the floor with less than :data:`GAP` between them."""
    if scene.carried in (first, second):
        return False
    x, z = scene.places[first]
    return fits_beside(scene, first, (x, z), second)


def fits_beside(scene: Scene, first: int, place: tuple[float, float], second: int) -> bool:
    """Return whether a thing would be next to another one if it lay at a place."""
    x, z = scene.places[second]
    distance = math.hypot(x - place[0], z - place[1])
    together = distance - scene.kinds[first].radius - scene.kinds[second].radius < GAP
    return together and not scene.is_walled(place, (x, z))
