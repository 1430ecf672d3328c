"""Which actor gets the next request: the one with the least of this client's under way."""

import os
import time
from collections.abc import Collection, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle

__all__ = ["Router"]


class Router:
    """One client's view of its actors: what is under way at each, and which to avoid.

    Args:
        actors: the pool's actors.
        pause_s: how long an actor that was late is left to recover.

    Attributes:
        retries: requests that were sent once more, since an actor was late or had ended.
    """

    def __init__(self, actors: Sequence[ActorHandle], pause_s: float) -> None:
        self._actors = actors
        self._pause_s = pause_s
        self._under_way = [0] * len(actors)
        self._paused_until = [0.0] * len(actors)
        self._dead: set[int] = set()
        self.retries = 0
        self._turn = os.getpid()  # so that clients do not all begin with the first actor

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """Return the index of an actor to send to, or None if all are tried or dead.

        Of those equally loaded, the one whose turn it is, so that a client that sends one request
        at a time uses all actors.
        """
        count, now = len(self._actors), time.monotonic()
        usable = [i for i in range(count) if i not in tried and i not in self._dead]
        self._turn += 1
        return min(
            usable,
            key=lambda i: (
                self._paused_until[i] > now,
                self._under_way[i],
                (i - self._turn) % count,
            ),
            default=None,
        )

    def send(self, actor: int, method: str, args: Sequence[Any]) -> ray.ObjectRef:
        """Call a method of an actor; :meth:`ended` must be told when its answer is here."""
        self._under_way[actor] += 1
        return getattr(self._actors[actor], method).remote(*args)

    def ended(self, actor: int) -> None:
        """A request to this actor is answered, or given up."""
        self._under_way[actor] -= 1

    def late(self, actor: int) -> None:
        """Prefer the others for a while."""
        self._paused_until[actor] = time.monotonic() + self._pause_s

    def dead(self, actor: int) -> None:
        """Never choose this actor again: Ray restarts actors, so this one was ended for good."""
        self._dead.add(actor)
