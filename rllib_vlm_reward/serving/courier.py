"""Takes a client's requests to one actor: in shared memory on its own node, else through Ray."""

import logging
import time
import weakref
from concurrent.futures import Future
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.link import Link, LinkError
from rllib_vlm_reward.serving.request import Answer, Request, Scores

__all__ = ["Courier"]

_LOG = logging.getLogger(__name__)
_RETRIES = 3


class Courier:
    """One client's way to one actor.

    The first request of a scorer travels through Ray, with the scorer; once it is answered, the
    actor knows the scorer and a link can name it. Where the link breaks, since the actor's process
    ended, its requests go again through Ray, which waits for the actor's next process.

    Args:
        actor: to take requests to.
        node: this client's, Ray's id of it.

    Attributes:
        is_near: whether the actor is on this node, as far as is known.
        told_waiting, told_at: frames that queued there, and when that was told (time.monotonic).
    """

    def __init__(self, actor: ActorHandle, node: str) -> None:
        self._actor, self._node = actor, node
        self._link: Link | None = None
        self._known: set[str] = set()
        self._closed = False
        self._retries = 0
        self._whereabouts: Future[Any] | None = None
        self._finalizer = weakref.finalize(self, int)  # nothing to close yet
        self.is_near = False
        self.told_waiting, self.told_at = 0, 0.0
        self._locate()

    def call(self, method: str, *args: Any) -> Future[Any]:
        """Call a method of the actor through Ray."""
        answer: Future[Any] = getattr(self._actor, method).remote(*args).future()
        return answer

    def score(self, request: Request) -> Future[Scores]:
        """Take one request there; its scores are float32 ``[B]``."""
        scores: Future[Scores] = Future()
        link = self._open_link() if request.fingerprint in self._known else None
        if link is None:
            self._score_by_ray(request, scores)
            return scores

        def arrive(answer: Future[Answer]) -> None:
            if isinstance(answer.exception(), LinkError):
                self._known.discard(request.fingerprint)
                self._score_by_ray(request, scores)
            else:
                self._settle(answer, scores)

        link.send(request).add_done_callback(arrive)
        return scores

    def close(self) -> None:
        """Close the link, if there is one, and give up what is under way."""
        self._closed = True
        if self._link is not None:
            self._link.close()

    def _score_by_ray(self, request: Request, scores: Future[Scores]) -> None:
        def arrive(answer: Future[Answer]) -> None:
            if answer.exception() is None:
                self._known.add(request.fingerprint)
            self._settle(answer, scores)

        # Ray 2.60 would start a cluster for a call after ray.shutdown().
        if self._closed or not ray.is_initialized():
            scores.set_exception(
                PoolError(
                    "reward pool: it was closed, or Ray was shut down, before the answer came. "
                    "Read the scores first."
                )
            )
            return
        frames = request.frames = np.array(request.frames)
        args = (frames, request.goals, request.fingerprint, [request.scorer], request.run)
        try:
            answer = self.call("score", *args)
        except Exception as error:  # a link's thread has nobody else to tell
            scores.set_exception(error)
        else:
            answer.add_done_callback(arrive)

    def _settle(self, answer: Future[Answer], scores: Future[Scores]) -> None:
        error = answer.exception()
        if error is not None:
            scores.set_exception(error)
            return
        self.told_waiting, self.told_at = answer.result().waiting, time.monotonic()
        scores.set_result(answer.result().scores)

    def _open_link(self) -> Link | None:
        if self._link is not None and self._link.is_broken:
            # The process is another one, or none: it knows no scorer.
            self._link = None
            self._known.clear()
            self._locate()
        if self._whereabouts is not None and self._whereabouts.done():
            whereabouts, self._whereabouts = self._whereabouts, None
            self._connect(whereabouts)
        return self._link

    def _locate(self) -> None:
        def learn(whereabouts: Future[Any]) -> None:
            if whereabouts.exception() is None:
                self.is_near = whereabouts.result()[0] == self._node

        self._whereabouts = self.call("whereabouts")
        self._whereabouts.add_done_callback(learn)

    def _connect(self, whereabouts: Future[Any]) -> None:
        if whereabouts.exception() is not None:
            return  # the actor ended; its requests say so
        node, address = whereabouts.result()
        if node != self._node or address is None:
            return
        try:
            self._link = Link(address)
        except OSError as error:
            # The actor restarted just now, or is in another network namespace: a container's.
            _LOG.info("reward pool: no link to an actor of this node. %s", error)
            self._retries += 1
            if self._retries <= _RETRIES:
                self._locate()
            return
        self._retries = 0
        # Its reader, a thread, would keep it open for good.
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, self._link.close)
