"""Draws scenes: what the agent sees, and the house from above."""

import math
import weakref
from collections.abc import Collection
from typing import Any

from rllib_vlm_reward.envs.house.camera import FIELD, HAND, HAND_SCALE, HEIGHT, PITCH
from rllib_vlm_reward.envs.house.floor_plan import (
    WALL_HEIGHT,
    FloorPlan,
    Room,
)
from rllib_vlm_reward.envs.house.opengl import OpenGL, open_gl
from rllib_vlm_reward.envs.house.scene import AGENT_RADIUS, Scene
from rllib_vlm_reward.frames import Frames

__all__ = ["Renderer"]

SKY = (0.25, 0.6, 0.9)
LIGHT_HEIGHT = 5.0
AMBIENT, DIFFUSE = 0.65, 0.5
NEAREST, FARTHEST = 0.04, 100.0
MARGIN = 0.3  # metres around the house, seen from above


class Renderer:
    """Draws the scenes of one env.

    Args:
        size: side of the frames in pixels.

    Raises:
        ConfigError: MiniWorld is not installed, or the system has no OpenGL.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._open: OpenGL = open_gl()
        self._open.buffer(size)
        self._plan: FloorPlan | None = None
        self._walls: list[int] = []
        # An env that is forgotten without close() leaves nothing behind either.
        self._finalizer = weakref.finalize(self, _forget, self._open, self._walls)

    def close(self) -> None:
        """Free what the house's walls took; the renderer draws no more."""
        self._finalizer()

    def draw(self, scene: Scene, *, without: Collection[int] = ()) -> Frames:
        """Draw what the agent sees.

        A carried thing is drawn at a fixed place in the lower right of the frame, and hides what
        is behind it.

        Args:
            scene: the state.
            without: indices of things that are left out.

        Returns:
            uint8 ``[size, size, 3]``.
        """
        gl = self._begin(scene)
        gl.gluPerspective(math.degrees(FIELD), 1.0, NEAREST, FARTHEST)
        gl.glMatrixMode(gl.GL_MODELVIEW)
        gl.glLoadIdentity()
        (dx, dz), (x, z) = scene.agent.direction, scene.agent[:2]
        cos, down = math.cos(PITCH), math.sin(PITCH)
        eye = (x, HEIGHT, z)
        gl.gluLookAt(*eye, x + dx * cos, HEIGHT + down, z + dz * cos, 0.0, 1.0, 0.0)
        self._draw_house(scene, without)
        if scene.carried is not None and scene.carried not in without:
            self._draw_carried(scene, scene.carried)
        return self._end()

    def draw_top(self, scene: Scene, *, without: Collection[int] = ()) -> Frames:
        """Draw the whole house from above, with the agent as a red arrow; arguments as in draw."""
        gl = self._begin(scene)
        x, z, half = top_view(scene.plan)
        gl.glOrtho(-half, half, -half, half, -FARTHEST, FARTHEST)
        gl.glMatrixMode(gl.GL_MODELVIEW)
        gl.glLoadIdentity()
        gl.gluLookAt(x, 10.0, z, x, 0.0, z, 0.0, 0.0, -1.0)
        self._draw_house(scene, without)
        self._draw_agent(scene)
        return self._end()

    def _begin(self, scene: Scene) -> Any:
        """Clear the frame, and leave the projection to the caller; return ``pyglet.gl``."""
        gl = self._open.gl
        self._open.use()
        if scene.plan is not self._plan:
            self._build(scene.plan)
        self._open.buffer(self.size).bind()
        gl.glClearColor(*SKY, 1.0)
        gl.glClearDepth(1.0)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT | gl.GL_DEPTH_BUFFER_BIT)
        gl.glMatrixMode(gl.GL_PROJECTION)
        gl.glLoadIdentity()
        return gl

    def _end(self) -> Frames:
        frame: Frames = self._open.buffer(self.size).resolve()
        return frame

    def _draw_house(self, scene: Scene, without: Collection[int]) -> None:
        gl = self._open.gl
        x, z, _ = top_view(scene.plan)
        self._light((x, LIGHT_HEIGHT, z))
        gl.glCallList(self._walls[0])
        for index in scene.lying():
            if index not in without:
                gl.glPushMatrix()
                gl.glTranslatef(scene.places[index][0], 0.0, scene.places[index][1])
                gl.glRotatef(math.degrees(scene.headings[index]), 0.0, 1.0, 0.0)
                gl.glCallList(self._open.kinds[scene.kinds[index].name])
                gl.glPopMatrix()

    def _draw_carried(self, scene: Scene, index: int) -> None:
        gl, (right, up, depth) = self._open.gl, HAND
        gl.glClear(gl.GL_DEPTH_BUFFER_BIT)
        gl.glLoadIdentity()
        self._light((0.0, LIGHT_HEIGHT, 0.0))
        gl.glTranslatef(right, up, -depth)
        # Seen a little from above and from the side, as on the floor.
        gl.glRotatef(25.0, 1.0, 0.0, 0.0)
        gl.glRotatef(-60.0, 0.0, 1.0, 0.0)
        gl.glScalef(HAND_SCALE, HAND_SCALE, HAND_SCALE)
        gl.glCallList(self._open.kinds[scene.kinds[index].name])

    def _draw_agent(self, scene: Scene) -> None:
        gl, ((dx, dz), (x, z)) = self._open.gl, (scene.agent.direction, scene.agent[:2])
        gl.glDisable(gl.GL_TEXTURE_2D)
        gl.glColor3f(1.0, 0.0, 0.0)
        gl.glBegin(gl.GL_TRIANGLES)
        gl.glNormal3f(0.0, 1.0, 0.0)
        for ahead, aside in ((1.3, 0.0), (-0.8, -0.9), (-0.8, 0.9)):
            a, b = ahead * AGENT_RADIUS, aside * AGENT_RADIUS
            gl.glVertex3f(x + a * dx - b * dz, HEIGHT, z + a * dz + b * dx)
        gl.glEnd()

    def _light(self, place: tuple[float, float, float]) -> None:
        gl = self._open.gl
        four = gl.GLfloat * 4
        gl.glLightfv(gl.GL_LIGHT0, gl.GL_POSITION, four(*place, 1.0))
        gl.glLightfv(gl.GL_LIGHT0, gl.GL_AMBIENT, four(AMBIENT, AMBIENT, AMBIENT, 1.0))
        gl.glLightfv(gl.GL_LIGHT0, gl.GL_DIFFUSE, four(DIFFUSE, DIFFUSE, DIFFUSE, 1.0))

    def _build(self, plan: FloorPlan) -> None:
        """Compile floors and walls, which stay the same for an episode, in place of the last."""
        _forget(self._open, self._walls)
        with self._open.compiled() as number:
            self._open.gl.glEnable(self._open.gl.GL_TEXTURE_2D)
            self._open.gl.glColor3f(1.0, 1.0, 1.0)
            for index, room in enumerate(plan.rooms):
                self._draw_floor(room)
                self._draw_walls(plan, index)
            self._open.gl.glDisable(self._open.gl.GL_TEXTURE_2D)
        self._walls.append(number)
        self._plan = plan

    def _draw_floor(self, room: Room) -> None:
        corners = (
            (room.min_x, room.min_z),
            (room.min_x, room.max_z),
            (room.max_x, room.max_z),
            (room.max_x, room.min_z),
        )
        self._quad(room.floor, (0.0, 1.0, 0.0), [(x, 0.0, z) for x, z in corners], [*corners])

    def _draw_walls(self, plan: FloorPlan, index: int) -> None:
        room = plan.rooms[index]
        middle = (room.min_x + room.max_x) / 2, (room.min_z + room.max_z) / 2
        for axis, at, start, stop, low in plan.sections(index):
            inward = 1.0 if at < middle[1 if axis == 0 else 0] else -1.0
            # Counter-clockwise from inside, since nothing is drawn from behind.
            first, last = (start, stop) if (inward > 0) == (axis == 0) else (stop, start)
            ends = ((first, low), (last, low), (last, WALL_HEIGHT), (first, WALL_HEIGHT))
            corners = [(along, y, at) if axis == 0 else (at, y, along) for along, y in ends]
            normal = (0.0, 0.0, inward) if axis == 0 else (inward, 0.0, 0.0)
            self._quad(room.wall, normal, corners, [*ends])

    def _quad(
        self,
        texture: str,
        normal: tuple[float, float, float],
        corners: list[tuple[float, float, float]],
        metres: list[tuple[float, float]],
    ) -> None:
        gl, loaded = self._open.gl, self._open.textures[texture]
        gl.glBindTexture(loaded.target, loaded.id)
        gl.glBegin(gl.GL_QUADS)
        gl.glNormal3f(*normal)
        for corner, (u, v) in zip(corners, metres, strict=True):
            gl.glTexCoord2f(u / loaded.metres[0], v / loaded.metres[1])
            gl.glVertex3f(*corner)
        gl.glEnd()


def top_view(plan: FloorPlan) -> tuple[float, float, float]:
    """Return the middle of a house, x and z, and half the side of the square around it."""
    low_x, high_x, low_z, high_z = plan.bounds
    half = max(high_x - low_x, high_z - low_z) / 2 + MARGIN
    return (low_x + high_x) / 2, (low_z + high_z) / 2, half


def _forget(opened: OpenGL, lists: list[int]) -> None:
    """Delete display lists."""
    while lists:
        opened.use()
        opened.gl.glDeleteLists(lists.pop(), 1)
