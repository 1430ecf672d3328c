"""Which actor gets the next request: the one with the least to do, and of those the nearest."""

import os
import time
from collections.abc import Collection

from rllib_vlm_reward.serving.courier import Courier

__all__ = ["Router"]

_TOLD_S = 1.0  # how long what an actor told of its queue is believed


class Router:
    """One client's view of its actors: what each has to do, and which to avoid.

    Args:
        pause_s: how long an actor that was late is left to recover.

    Attributes:
        couriers: the way to each actor, by its index.
        retries: requests that were sent once more, since an actor was late or had ended.
    """

    def __init__(self, pause_s: float) -> None:
        self.couriers: dict[int, Courier] = {}
        self._pause_s = pause_s
        self._under_way: dict[int, int] = {}
        self._paused_until: dict[int, float] = {}
        self._dead: set[int] = set()
        self.retries = 0
        self._turn = os.getpid()  # so that clients do not all begin with the first actor

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """Return the index of an actor to send to, or None if all are tried or dead.

        Of those with equally much to do, one on this node; of those, the one whose turn it is, so
        that a client that sends one request at a time uses all actors.
        """
        now = time.monotonic()
        self._turn += 1
        return min(
            self._usable(tried),
            key=lambda i: (
                self._paused_until.get(i, 0.0) > now,
                self._load(i, now),
                not self.couriers[i].is_near,
                (i - self._turn) % len(self.couriers),
            ),
            default=None,
        )

    def first(self, tried: Collection[int] = ()) -> int | None:
        """Return the first actor that is left: all clients' same, for what is done once a pool."""
        return min(self._usable(tried), default=None)

    def sent(self, actor: int, frames: int) -> None:
        """A request of so many frames is under way; :meth:`ended` must be told of its end."""
        self._under_way[actor] = self._under_way.get(actor, 0) + frames

    def ended(self, actor: int, frames: int) -> None:
        """A request to this actor is answered, or given up."""
        self._under_way[actor] -= frames

    def late(self, actor: int) -> None:
        """Prefer the others for a while."""
        self._paused_until[actor] = time.monotonic() + self._pause_s

    def dead(self, actor: int) -> None:
        """Do not choose this actor again: Ray restarts actors, so this one was ended for good."""
        self._dead.add(actor)

    def is_dead(self, actor: int) -> bool:
        """Return whether this actor was ended."""
        return actor in self._dead

    def meet(self, actor: int, courier: Courier) -> None:
        """An actor was started, or started anew."""
        self.couriers[actor] = courier
        self._dead.discard(actor)

    def _usable(self, tried: Collection[int]) -> list[int]:
        return [i for i in self.couriers if i not in tried and i not in self._dead]

    def _load(self, actor: int, now: float) -> int:
        """Frames that wait there: this client's, or more if the actor told so lately."""
        courier = self.couriers[actor]
        told = courier.told_waiting if now - courier.told_at < _TOLD_S else 0
        return max(self._under_way.get(actor, 0), told)
