"""Chooses the actor for a request. Has no threads, and reads the clock that it is given."""

import math
import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Destination", "LoadBalancer"]

_REPORT_S = 1.0  # how long an actor's report about its queue is used


class Destination(Protocol):
    """What the choice reads of one actor.

    Attributes:
        is_local: whether the actor is on this node; False until that is known.
        reported_waiting: how many frames waited at the actor, according to its last answer.
        reported_at: when that answer arrived, on the clock of the load balancer.
    """

    is_local: bool
    reported_waiting: int
    reported_at: float


D = TypeVar("D", bound=Destination)


class LoadBalancer(Generic[D]):
    """Chooses the actor for a request by load, and avoids actors that were late.

    A choice compares two actors, so it takes as long with 1,000 actors as with 10 (the power of two
    choices; Mitzenmacher, 2001).

    Args:
        pause_s: seconds during which an actor that was late is avoided.
        clock: returns the present in seconds.
        seed: of the draws; None takes one from the operating system.

    Attributes:
        clients: the client of each actor, by the actor's index.
    """

    def __init__(
        self,
        pause_s: float,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        self.clients: dict[int, D] = {}
        self._pause_s, self._clock = pause_s, clock
        # Not Python's global generator: the env may have seeded it, and reads it.
        self._random = random.Random(seed)
        self._turn = self._random.randrange(2**16)  # so that clients begin with different actors
        self._under_way: dict[int, int] = {}
        self._paused_until: dict[int, float] = {}
        self._dead: set[int] = set()
        self._near: list[int] = []
        self._far: list[int] = []
        self._late: list[int] = []
        self._is_stale = True
        self._pause_ends = math.inf

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """Return the index of the actor to send a request to, or None if there is none.

        It is the one of two with the smaller load. The first of the two is on this node, if
        possible, and such actors take turns, so that a client that sends one request at a time uses
        all of them. The second is drawn at random from the others. Actors that were late are chosen
        only if no others are left.

        Args:
            tried: the actors to which the request was sent before.
        """
        now = self._clock()
        self._turn += 1
        if self._is_stale or now >= self._pause_ends:
            self._sort(now)
        drawn = self._draw(self._near, self._far, tried) or self._draw(self._late, (), tried)
        return min(drawn, key=lambda actor: self._load(actor, now), default=None)

    def first(self, tried: Collection[int] = ()) -> int | None:
        """Return the usable actor with the lowest index: the same for all clients."""
        usable = (i for i in self.clients if i not in tried and i not in self._dead)
        return min(usable, default=None)

    def sent(self, actor: int, frames: int) -> None:
        """Count the frames of a request as under way, until :meth:`ended`."""
        self._under_way[actor] = self._under_way.get(actor, 0) + frames

    def ended(self, actor: int, frames: int) -> None:
        """Count the frames of a request as answered or given up."""
        self._under_way[actor] -= frames

    def late(self, actor: int) -> None:
        """Avoid this actor for ``pause_s`` seconds, if there are others."""
        self._paused_until[actor] = self._clock() + self._pause_s
        self._is_stale = True

    def dead(self, actor: int) -> None:
        """Do not choose this actor again. Ray restarts actors, so this one was ended on purpose."""
        self._dead.add(actor)
        self._is_stale = True

    def is_dead(self, actor: int) -> bool:
        """Return whether this actor was ended."""
        return actor in self._dead

    def add(self, actor: int, client: D) -> None:
        """Choose a new actor from now on, or one that was started again."""
        self.clients[actor] = client
        self._dead.discard(actor)
        self._is_stale = True

    def located(self) -> None:
        """Read each client's ``is_local`` again before the next choice; from any thread."""
        self._is_stale = True

    def _sort(self, now: float) -> None:
        self._is_stale = False  # first: another thread may set it meanwhile
        self._near, self._far, self._late = [], [], []
        for actor, client in self.clients.items():
            if actor in self._dead:
                continue
            if self._paused_until.get(actor, -math.inf) > now:
                self._late.append(actor)
            elif client.is_local:
                self._near.append(actor)
            else:
                self._far.append(actor)
        self._pause_ends = min((self._paused_until[i] for i in self._late), default=math.inf)

    def _draw(self, near: Sequence[int], far: Sequence[int], tried: Collection[int]) -> list[int]:
        """Return one actor of each group, or two of one group if the other has none left."""
        drawn: list[int] = []
        for group in (near, far, far, near):
            start = int(self._random.random() * len(group)) if drawn else self._turn
            # So many positions hold at least one actor that is neither tried nor drawn.
            for step in range(min(len(group), len(tried) + len(drawn) + 1)):
                actor = group[(start + step) % len(group)]
                if actor not in tried and actor not in drawn:
                    drawn.append(actor)
                    break
            if len(drawn) == 2:
                break
        return drawn

    def _load(self, actor: int, now: float) -> int:
        """Return how many frames wait at an actor: this client's, or what the actor reported."""
        client = self.clients[actor]
        reported = client.reported_waiting if now - client.reported_at < _REPORT_S else 0
        return max(self._under_way.get(actor, 0), reported)
