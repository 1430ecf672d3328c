"""The floor as a grid: where the agent can stand, and how far it has to walk."""

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from rllib_vlm_reward.envs.house.scene import AGENT_RADIUS, Place, Pose, Scene

__all__ = ["CELL", "Grid"]

CELL = 0.1
"""Side of a cell in metres."""

Cells = npt.NDArray[np.bool_]
_STEPS = ((1, 0), (0, 1), (1, 1), (1, -1))


class Grid:
    """The cells of a house on which the agent can stand, as its things lie now.

    Args:
        scene: the state; later changes to it do not matter.
    """

    def __init__(self, scene: Scene) -> None:
        low_x, high_x, low_z, high_z = scene.plan.bounds
        self._low = np.array([low_x, low_z])
        axes = (np.arange(low_x, high_x, CELL), np.arange(low_z, high_z, CELL))
        self._centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) + CELL / 2
        self.free = self._free(scene)

    def connects(self, start: Place | Pose, end: Place, radius: float) -> bool:
        """Return whether the agent can walk from a place to within ``radius`` of another one."""
        label = self._labels[self._cell(start)]
        return bool(label and (self._labels[self._around(end, radius)] == label).any())

    def distances(self, end: Place, radius: float) -> npt.NDArray[np.float64]:
        """Return how far it is from each cell to within ``radius`` of a place, in metres.

        Returns:
            float64 ``[X, Z]``; ``inf`` where there is no way.
        """
        goals = np.flatnonzero(self._around(end, radius) & self.free)
        if not len(goals):
            return np.full(self.free.shape, math.inf)
        reached: npt.NDArray[np.float64] = dijkstra(
            self._graph, directed=False, indices=goals, min_only=True
        )
        return reached.reshape(self.free.shape)

    def at(self, field: npt.NDArray[np.float64], x: float, z: float) -> float:
        """Return the least value of a field in the cells around a place."""
        column, row = self._cell((x, z))
        return float(field[max(column - 1, 0) : column + 2, max(row - 1, 0) : row + 2].min())

    def _cell(self, place: Place | Pose) -> tuple[int, int]:
        column, row = ((np.array(place[:2]) - self._low) / CELL).astype(int)
        return int(column), int(row)

    def _around(self, place: Place, radius: float) -> Cells:
        near: Cells = np.hypot(*np.moveaxis(self._centres - place, -1, 0)) <= radius
        return near

    def _free(self, scene: Scene) -> Cells:
        x, z = np.moveaxis(self._centres, -1, 0)
        free = np.zeros(x.shape, bool)
        for room in scene.plan.rooms:
            free |= (x > room.min_x) & (x < room.max_x) & (z > room.min_z) & (z < room.max_z)
        for index in scene.lying():
            place, radius = scene.places[index], scene.kinds[index].radius + AGENT_RADIUS
            free &= np.hypot(x - place[0], z - place[1]) >= radius
        for x0, z0, x1, z1 in scene.plan.walls:
            dx = np.maximum(np.maximum(x0 - x, x - x1), 0)
            dz = np.maximum(np.maximum(z0 - z, z - z1), 0)
            free &= np.hypot(dx, dz) >= AGENT_RADIUS
        return free

    @cached_property
    def _labels(self) -> npt.NDArray[np.int32]:
        labels: npt.NDArray[np.int32] = ndimage.label(self.free)[0]
        return labels

    @cached_property
    def _graph(self) -> coo_array:
        """The neighbours of each cell, also across corners, and their distances."""
        numbers = np.arange(self.free.size).reshape(self.free.shape)
        width, height = self.free.shape
        starts, ends, lengths = [], [], []
        for dx, dz in _STEPS:
            here = np.s_[: width - dx, max(-dz, 0) : height - max(dz, 0)]
            there = np.s_[dx:, max(dz, 0) : height - max(-dz, 0)]
            both = self.free[here] & self.free[there]
            starts.append(numbers[here][both])
            ends.append(numbers[there][both])
            lengths.append(np.full(int(both.sum()), CELL * math.hypot(dx, dz)))
        size = (self.free.size, self.free.size)
        pairs = np.concatenate(starts), np.concatenate(ends)
        return coo_array((np.concatenate(lengths), pairs), shape=size).tocsr()
