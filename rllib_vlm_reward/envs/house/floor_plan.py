"""Rooms side by side, and the doors between them."""

import dataclasses
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = [
    "DOOR_HEIGHT",
    "DOOR_WIDTH",
    "FLOORS",
    "WALLS",
    "WALL_HEIGHT",
    "Door",
    "FloorPlan",
    "Room",
]

WALLS = ("brick_wall", "cinder_blocks", "concrete", "drywall", "marble", "stucco", "wood", "rock")
FLOORS = (
    "asphalt",
    "cardboard",
    "concrete_tiles",
    "floor_tiles_bw",
    "grass",
    "wood_planks",
    "metal_grill",
    "ceiling_tiles",
)
"""MiniWorld's textures for walls and floors."""

WALL_HEIGHT = 2.6
DOOR_HEIGHT = 2.1
DOOR_WIDTH = 1.2
ROOM_SIDES = 3.6, 4.4
SECOND_WAY = 0.5  # how likely a door is between two rooms that are already connected

Cell = tuple[int, int]
Segment = tuple[float, float, float, float]
"""A wall seen from above, (x0, z0, x1, z1) with x0 <= x1 and z0 <= z1, along x or along z."""


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """A rectangle of the floor, in metres, and the textures of its walls and its floor."""

    min_x: float
    max_x: float
    min_z: float
    max_z: float
    wall: str
    floor: str


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """An opening in the wall between two rooms.

    Attributes:
        rooms: indices of the two rooms.
        axis: 0 if the wall runs along x, 2 if it runs along z.
        at: the wall's place on the other axis.
        low: where the opening begins on the axis.
        high: where it ends.
    """

    rooms: tuple[int, int]
    axis: int
    at: float
    low: float
    high: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the opening, (x, z)."""
        middle = (self.low + self.high) / 2
        return (middle, self.at) if self.axis == 0 else (self.at, middle)


@dataclasses.dataclass(frozen=True)
class FloorPlan:
    """The rooms of a house, which are connected by doors.

    Attributes:
        rooms: the rooms; no two overlap.
        doors: the doors; every room is reached from every other.
    """

    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, num_rooms: int) -> "FloorPlan":
        """Draw a house: rooms of random sides on a grid, grown one by one from the first.

        Args:
            rng: source of randomness.
            num_rooms: number of rooms, 1 or more.

        Example:
            >>> plan = FloorPlan.draw(np.random.default_rng(0), 3)
            >>> len(plan.rooms), len(plan.doors) >= 2
            (3, True)
        """
        cells: list[Cell] = [(0, 0)]
        parents: dict[Cell, Cell] = {}
        while len(cells) < num_rooms:
            parent = cells[int(rng.integers(len(cells)))]
            free = [cell for cell in _beside(parent) if cell not in cells]
            if free:
                cells.append(free[int(rng.integers(len(free)))])
                parents[cells[-1]] = parent
        edges = [_edges(rng, {cell[axis] for cell in cells}) for axis in (0, 1)]
        rooms = tuple(
            Room(
                *edges[0][column],
                *edges[1][row],
                WALLS[int(rng.integers(len(WALLS)))],
                FLOORS[int(rng.integers(len(FLOORS)))],
            )
            for column, row in cells
        )
        pairs = [
            (first, second)
            for second, cell in enumerate(cells)
            for first, other in enumerate(cells[:second])
            if other in _beside(cell) and (parents.get(cell) == other or rng.random() < SECOND_WAY)
        ]
        doors = tuple(_door(rng, rooms, pair) for pair in pairs)
        return cls(rooms, doors)

    @cached_property
    def walls(self) -> tuple[Segment, ...]:
        """What nobody walks or sees through: all walls without the doors."""
        segments: set[Segment] = {
            (start, at, stop, at) if axis == 0 else (at, start, at, stop)
            for index in range(len(self.rooms))
            for axis, at, start, stop, low in self.sections(index)
            if low == 0
        }
        return tuple(sorted(segments))

    @cached_property
    def wall_array(self) -> npt.NDArray[np.float64]:
        """:attr:`walls` as float64 ``[W, 4]``."""
        return np.array(self.walls)

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest and largest x, then the smallest and largest z."""
        xs = [edge for room in self.rooms for edge in (room.min_x, room.max_x)]
        zs = [edge for room in self.rooms for edge in (room.min_z, room.max_z)]
        return min(xs), max(xs), min(zs), max(zs)

    def sections(self, index: int) -> list[tuple[int, float, float, float, float]]:
        """Return the parts of a room's four walls, each (axis, at, from, to, height from).

        Above a door the wall begins at :data:`DOOR_HEIGHT`; elsewhere it begins at 0.
        """
        room, parts = self.rooms[index], []
        for axis, at, low, high in _sides(room):
            ends = [low]
            for door in sorted(self._doors_in(index, axis, at), key=lambda door: door.low):
                ends += [door.low, door.high]
            ends.append(high)
            parts += [
                (axis, at, start, stop, DOOR_HEIGHT if number % 2 else 0.0)
                for number, (start, stop) in enumerate(pairwise(ends))
            ]
        return parts

    def _doors_in(self, index: int, axis: int, at: float) -> list[Door]:
        return [
            door
            for door in self.doors
            if index in door.rooms and door.axis == axis and door.at == at
        ]


def _beside(cell: Cell) -> list[Cell]:
    column, row = cell
    return [(column + 1, row), (column, row + 1), (column - 1, row), (column, row - 1)]


def _edges(rng: np.random.Generator, used: set[int]) -> dict[int, tuple[float, float]]:
    """Return where each column or row of the grid begins and ends."""
    first, last = min(used), max(used)
    sides = rng.uniform(*ROOM_SIDES, last - first + 1)
    ends = [0.0, *np.cumsum(sides).tolist()]
    return {first + number: pair for number, pair in enumerate(pairwise(ends))}


def _door(rng: np.random.Generator, rooms: tuple[Room, ...], pair: tuple[int, int]) -> Door:
    first, second = (rooms[index] for index in pair)
    if first.max_x == second.min_x or second.max_x == first.min_x:
        axis, at = 2, max(first.min_x, second.min_x)
        low, high = first.min_z, first.max_z
    else:
        axis, at = 0, max(first.min_z, second.min_z)
        low, high = first.min_x, first.max_x
    margin = 0.4
    start = float(rng.uniform(low + margin, high - margin - DOOR_WIDTH))
    return Door(pair, axis, at, start, start + DOOR_WIDTH)


def _sides(room: Room) -> list[tuple[int, float, float, float]]:
    """Return a room's four sides, each (axis, at, from, to)."""
    return [
        (0, room.min_z, room.min_x, room.max_x),
        (0, room.max_z, room.min_x, room.max_x),
        (2, room.min_x, room.min_z, room.max_z),
        (2, room.max_x, room.min_z, room.max_z),
    ]
