"""What the agent's camera sees, computed from the state and without a picture."""

import math

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.envs.house.scene import Pose, Scene
from rllib_vlm_reward.envs.house.things import Kind

__all__ = ["FIELD", "HAND", "HAND_SCALE", "HEIGHT", "PITCH", "visible_share"]

HEIGHT = 1.2  # metres above the floor
PITCH = math.radians(-38)
FIELD = math.radians(80)  # of the square picture, from edge to edge
HAND = (0.42, -0.58, 0.8)
"""Where a carried thing's base is drawn: metres to the right, up, and ahead of the camera."""
HAND_SCALE = 0.5
"""The size at which a carried thing is drawn."""

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_ANGLES = np.arange(8) * math.pi / 4
_DISC = np.vstack([np.zeros((1, 2)), np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)])
_HULL = 0.75  # the share of its footprint that a thing fills on average
_LEVELS = (0.15, 0.5, 0.85)


def visible_share(scene: Scene, index: int, pose: Pose | None = None) -> float:
    """Return how much of a thing the camera sees, from 0 to 1.

    The share is that of 27 points in the thing which lie within the picture, and which no wall, no
    other thing and nothing in the agent's hand hides.

    Args:
        scene: the state.
        index: a thing on the floor.
        pose: where the agent stands; None takes its present pose.

    Example:
        >>> from rllib_vlm_reward.envs.house.layout import draw_scene
        >>> scene = draw_scene(np.random.default_rng(0), num_rooms=1, names=["cone", "desk"])
        >>> 0 <= visible_share(scene, 0) <= 1
        True
    """
    pose = pose or scene.agent
    points = _points_of(scene, index)
    seen = _in_picture(scene, points, pose)
    if seen.any():
        seen &= ~_walled(scene, points, pose)
        for other in scene.lying():
            if other != index:
                seen &= ~_hides(scene, other, points, pose)
    return float(seen.mean())


def _points_of(scene: Scene, index: int) -> Points:
    """Return points of a thing, float64 ``[27, 3]``, (x, y, z)."""
    kind, heading = scene.kinds[index], scene.headings[index]
    cos, sin = math.cos(heading), math.sin(heading)
    turn = np.array([[cos, -sin], [sin, cos]])
    flat = (_DISC * kind.footprint * _HULL) @ turn + scene.places[index]
    return np.vstack(
        [
            np.column_stack([flat[:, 0], np.full(len(flat), level * kind.height), flat[:, 1]])
            for level in _LEVELS
        ]
    )


def _radius(kind: Kind) -> float:
    """Return the radius of the upright cylinder that stands for a thing where it hides others."""
    return _HULL * sum(kind.footprint) / 2


def _in_picture(scene: Scene, points: Points, pose: Pose) -> Mask:
    right, up, depth = _to_camera(points, pose)
    half = math.tan(FIELD / 2) * depth
    inside: Mask = np.all([depth > 0, abs(right) <= half, abs(up) <= half], axis=0)
    if scene.carried is None:
        return inside
    seen: Mask = np.logical_and(inside, ~_behind_hand(scene, right / depth, up / depth))
    return seen


def _to_camera(points: Points, pose: Pose) -> tuple[Points, Points, Points]:
    """Return points as the camera sees them: metres to the right, up, and ahead of it."""
    dx, dz = pose.direction
    x, y, z = (points - (pose.x, HEIGHT, pose.z)).T
    ahead, right = x * dx + z * dz, z * dx - x * dz
    cos, sin = math.cos(PITCH), math.sin(PITCH)
    return right, y * cos - ahead * sin, ahead * cos + y * sin


def _behind_hand(scene: Scene, right: Points, up: Points) -> Mask:
    """Return which points lie behind the carried thing; right and up are divided by depth."""
    assert scene.carried is not None
    kind, (x, y, depth) = scene.kinds[scene.carried], HAND
    half, height = HAND_SCALE * _radius(kind), HAND_SCALE * kind.height
    behind: Mask = (
        (abs(right - x / depth) <= half / depth) & (up >= y / depth) & (up <= (y + height) / depth)
    )
    return behind


def _walled(scene: Scene, points: Points, pose: Pose) -> Mask:
    """Return which points a wall hides; doors are higher than the camera."""
    walls, eye, ends = scene.plan.wall_array[None], pose[:2], points[:, None, [0, 2]]
    first, second = walls[..., :2] - eye, walls[..., 2:] - eye
    line, wall = ends - eye, second - first
    apart = _cross(line, first) * _cross(line, second) <= 0
    beyond = _cross(wall, -first) * _cross(wall, ends - eye - first) < 0
    hidden: Mask = np.any(np.logical_and(apart, beyond), axis=1)
    return hidden


def _cross(a: Points, b: Points) -> Points:
    product: Points = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product


def _hides(scene: Scene, other: int, points: Points, pose: Pose) -> Mask:
    """Return which points another thing hides: lines of sight that enter its cylinder."""
    kind, (x, z) = scene.kinds[other], scene.places[other]
    start = np.array([pose.x - x, pose.z - z])
    along = points[:, [0, 2]] - (pose.x, pose.z)
    a = (along**2).sum(axis=1)
    b = along @ start
    c = start @ start - _radius(kind) ** 2
    root = b * b - a * c
    # All points lie below the camera, so a line is lowest where it leaves the cylinder.
    leaves = np.minimum((-b + np.sqrt(np.maximum(root, 0))) / np.maximum(a, 1e-12), 1)
    enters = (-b - np.sqrt(np.maximum(root, 0))) / np.maximum(a, 1e-12)
    low = HEIGHT + leaves * (points[:, 1] - HEIGHT)
    hidden: Mask = (root > 0) & (enters < 1) & (leaves > 0) & (low < kind.height)
    return hidden
