"""The state of a house: where everything is, and what each action changes."""

import dataclasses
import enum
import math
from typing import NamedTuple

from rllib_vlm_reward.envs.house.floor_plan import FloorPlan, Segment
from rllib_vlm_reward.envs.house.things import Kind

__all__ = ["AGENT_RADIUS", "REACH", "STEP", "TURN", "Action", "Place", "Pose", "Scene"]

STEP = 0.3  # metres that the agent walks forward
TURN = math.pi / 6
AGENT_RADIUS = 0.25
REACH = 1.0  # metres from the agent's centre to that of a thing that it picks up
REACH_ANGLE = math.radians(40)  # to either side
DROP_GAP = 0.08  # metres between the agent and what it has dropped

Place = tuple[float, float]


class Action(enum.IntEnum):
    """What the agent can do in a step."""

    LEFT = 0
    RIGHT = 1
    FORWARD = 2
    PICK_UP = 3
    DROP = 4


class Pose(NamedTuple):
    """Where the agent stands, in metres, and where it looks: radians, 0 along x, π/2 against z."""

    x: float
    z: float
    heading: float

    @property
    def direction(self) -> Place:
        """The unit vector (x, z) of the heading."""
        return math.cos(self.heading), -math.sin(self.heading)

    def turned(self, angle: float) -> "Pose":
        """Return the pose after a turn to the left by an angle in radians."""
        return self._replace(heading=(self.heading + angle) % (2 * math.pi))

    def ahead(self, distance: float) -> Place:
        """Return the place that lies so many metres ahead."""
        dx, dz = self.direction
        return self.x + distance * dx, self.z + distance * dz


@dataclasses.dataclass(slots=True)
class Scene:
    """Where the agent and all things are; the actions change it in place.

    Attributes:
        plan: rooms and doors.
        kinds: the kind of each thing.
        places: each thing's place, (x, z) in metres. That of a carried thing has no meaning.
        headings: each thing's heading in radians.
        agent: the agent's pose.
        carried: index of the thing that the agent carries, None with empty hands.
    """

    plan: FloorPlan
    kinds: tuple[Kind, ...]
    places: list[Place]
    headings: list[float]
    agent: Pose
    carried: int | None = None

    def copy(self) -> "Scene":
        """Return a scene that changes independently of this one."""
        return dataclasses.replace(self, places=[*self.places], headings=[*self.headings])

    def lying(self) -> list[int]:
        """Return the indices of the things on the floor: all but a carried one."""
        return [index for index in range(len(self.kinds)) if index != self.carried]

    def act(self, action: int) -> None:
        """Take an action; one that has no effect leaves the state as it is."""
        match action:
            case Action.LEFT:
                self.turn(1)
            case Action.RIGHT:
                self.turn(-1)
            case Action.FORWARD:
                self.step()
            case Action.PICK_UP:
                self.pick_up()
            case Action.DROP:
                self.drop()

    def turn(self, side: int) -> None:
        """Turn by :data:`TURN`, to the left if ``side`` is 1, to the right if it is -1."""
        self.agent = self.agent.turned(side * TURN)

    def step(self) -> bool:
        """Walk forward by :data:`STEP`; return False, and stay, if something is in the way."""
        x, z = self.agent.ahead(STEP)
        if not self.is_free(x, z, AGENT_RADIUS):
            return False
        self.agent = self.agent._replace(x=x, z=z)
        return True

    def pick_up(self) -> int | None:
        """Pick up the nearest thing in reach, and return its index; None if there is none."""
        index = self.in_reach(self.agent)
        if index is not None:
            self.carried = index
        return index

    def drop(self) -> bool:
        """Put the carried thing down ahead; return False if it is none or has no room there."""
        place = self.drop_place(self.agent)
        if self.carried is None or place is None:
            return False
        self.places[self.carried] = place
        self.headings[self.carried] = self.agent.heading
        self.carried = None
        return True

    def is_free(self, x: float, z: float, radius: float) -> bool:
        """Return whether a circle touches no wall and no thing on the floor."""
        for index, (kind, place) in enumerate(zip(self.kinds, self.places, strict=True)):
            if index != self.carried and math.dist((x, z), place) < radius + kind.radius:
                return False
        return all(_distance(wall, x, z) >= radius for wall in self.plan.walls)

    def in_reach(self, pose: Pose) -> int | None:
        """Return the thing that the agent would pick up at a pose.

        It is the nearest of those whose centre is within :data:`REACH` and 40 degrees of the
        heading, with no wall between. With a thing in its hands, the agent reaches none.
        """
        if self.carried is not None:
            return None
        nearest = None
        least = REACH
        dx, dz = pose.direction
        for index, (x, z) in enumerate(self.places):
            distance = math.hypot(x - pose.x, z - pose.z)
            ahead = (x - pose.x) * dx + (z - pose.z) * dz
            within = distance < least and ahead >= distance * math.cos(REACH_ANGLE)
            if within and not self.is_walled(pose, (x, z)):
                nearest, least = index, distance
        return nearest

    def drop_place(self, pose: Pose) -> Place | None:
        """Return where the carried thing would be put down; None without it, or without room."""
        if self.carried is None:
            return None
        radius = self.kinds[self.carried].radius
        place = pose.ahead(AGENT_RADIUS + radius + DROP_GAP)
        if self.is_free(*place, radius) and not self.is_walled(pose, place):
            return place
        return None

    def is_walled(self, start: Place | Pose, end: Place) -> bool:
        """Return whether a wall crosses the line between two places."""
        line = start[0], start[1], *end
        return any(_crosses(wall, line) for wall in self.plan.walls)


def _distance(wall: Segment, x: float, z: float) -> float:
    """Return the distance from a place to a wall."""
    x0, z0, x1, z1 = wall
    return math.hypot(max(x0 - x, 0.0, x - x1), max(z0 - z, 0.0, z - z1))


def _crosses(wall: Segment, line: Segment) -> bool:
    """Return whether a line from (x, z) to (x, z) crosses a wall."""
    x0, z0, x1, z1 = wall
    a, b, c, d = line
    if x0 == x1:  # along z: the same with the axes swapped
        x0, z0, x1, z1 = z0, x0, z1, x1
        a, b, c, d = b, a, d, c
    if (b < z0) == (d < z0):
        return False
    return x0 <= a + (c - a) * (z0 - b) / (d - b) <= x1
