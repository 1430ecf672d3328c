"""A pool's actors, as one client knows them."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import ray
from ray.actor import ActorHandle

from rllib_vlm_reward.serving.courier import Courier
from rllib_vlm_reward.serving.placement import present
from rllib_vlm_reward.serving.routing import Router

__all__ = ["Roster"]

_LOOK_S = 5.0


class Roster:
    """The actors of a pool, and of one that grows those that came.

    Args:
        name: of the pool.
        actors: by their index, of which each serves.
        router: told of who comes and goes.

    Attributes:
        actors: by their index.
    """

    def __init__(self, name: str, actors: Sequence[ActorHandle], router: Router) -> None:
        self._name, self._router = name, router
        self._node = ray.get_runtime_context().get_node_id()
        self._looked_at = time.monotonic()
        self._coming: dict[int, tuple[ActorHandle, Future[Any]]] = {}
        self.actors: dict[int, ActorHandle] = {}
        for index, actor in enumerate(actors):
            self._meet(index, actor)

    def look(self) -> None:
        """Every few seconds, meet the actors that were started, once they serve, and forget others.

        An actor has its name before it has a place and a model.
        """
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        running = present(self._name)
        for index in list(self.actors):
            if index not in running or self._router.is_dead(index):
                self._router.dead(index)
                del self.actors[index]
        for index in running.keys() - self.actors.keys() - self._coming.keys():
            self._coming[index] = running[index], running[index].describe.remote().future()
        for index, (actor, loaded) in list(self._coming.items()):
            if loaded.done():
                del self._coming[index]
                if loaded.exception() is None:
                    self._meet(index, actor)

    def _meet(self, index: int, actor: ActorHandle) -> None:
        self.actors[index] = actor
        self._router.meet(index, Courier(actor, self._node))
