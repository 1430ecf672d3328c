"""Chooses the requests of the next batch. Has no threads and no clock."""

import bisect
from collections.abc import Sized
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["FairQueue", "Joinable"]


class Joinable(Sized, Protocol):
    """A request; its length is its number of frames."""

    run: int

    def can_join(self, other: Any, /) -> bool:
        """Return whether frames of both requests may share a batch."""


J = TypeVar("J", bound=Joinable)


class _Waiting(Generic[J]):
    """A waiting request, and how many of its frames were taken already."""

    __slots__ = ("request", "taken", "turn")

    def __init__(self, request: J, turn: int) -> None:
        self.request, self.turn, self.taken = request, turn, 0


class FairQueue(Generic[J]):
    """Waiting requests, sorted by turn.

    Runs that share a device take turns frame by frame (start-time fair queueing; Goyal, Vin and
    Cheng, 1996), so that a run with many env runners does not delay a run with few. A request that
    fits into the batch of another run is taken early.

    Attributes:
        waiting: number of frames that wait.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._queue: list[_Waiting[J]] = []
        self._turn = 0  # the turn of the request that was taken last
        self._ends: dict[int, int] = {}  # the turn after each run's last request

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, request: J) -> None:
        """Put one request into the queue."""
        if not self._queue:
            self._ends.clear()
        turn = max(self._turn, self._ends.get(request.run, 0))
        self._ends[request.run] = turn + len(request)
        bisect.insort(self._queue, _Waiting(request, turn), key=lambda waits: waits.turn)
        self.waiting += len(request)

    def take(self, limit: int, idle: int = 1) -> list[tuple[J, slice]]:
        """Take frames of the next request and of requests that can join it.

        Args:
            limit: the largest number of frames in the batch.
            idle: number of lanes among which to divide the waiting frames.

        Returns:
            The requests, each with the rows that were taken; empty if none waits.
        """
        room = max(1, limit if idle == 1 else min(limit, -(-self.waiting // idle)))
        parts: list[tuple[J, slice]] = []
        left: list[_Waiting[J]] = []
        if self._queue:
            self._turn = self._queue[0].turn
        for waits in self._queue:
            size = len(waits.request) - waits.taken
            if parts and not (room and waits.request.can_join(parts[0][0])):
                left.append(waits)
                continue
            taken = min(size, room)
            parts.append((waits.request, slice(waits.taken, waits.taken + taken)))
            waits.taken += taken
            room -= taken
            self.waiting -= taken
            if taken < size:
                left.append(waits)
        self._queue = left
        return parts
