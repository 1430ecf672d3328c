"""From one client to the actors of its pool: which one to ask, the way there, and the answer.

An :class:`ActorClient` takes requests to one actor, a :class:`Router` chooses among them, a
:class:`Roster` meets the actors that come, and a :class:`Pending` is one request's answer to come.
"""

import contextlib
import logging
import os
import select
import socket
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.request import Answer, Request, Scores
from rllib_vlm_reward.serving.shared_memory.client import SharedMemoryClient

__all__ = [
    "NAMESPACE",
    "ActorClient",
    "Pending",
    "PendingScores",
    "Roster",
    "Router",
    "Wake",
    "fetch",
    "none_left",
    "present",
]

NAMESPACE = "rllib_vlm_reward"
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_LOG = logging.getLogger(__name__)
_CONNECT_RETRIES = 3
_LOOK_S = 5.0
_REPORT_S = 1.0  # how long what an actor reported of its queue is believed


def present(name: str) -> dict[int, ActorHandle]:
    """Return the running actors of a pool, by their index."""
    running = ray.util.list_named_actors(all_namespaces=True)
    prefix = f"{name}/"
    names = [it["name"] for it in running if it["namespace"] == NAMESPACE]
    ends = (it.removeprefix(prefix) for it in names if it.startswith(prefix))
    indices = {int(it) for it in ends if it.isdecimal()}  # "eval/0" belongs to another pool
    found = {}
    for index in sorted(indices):
        with contextlib.suppress(ValueError):  # it ended meanwhile
            found[index] = ray.get_actor(f"{name}/{index}", namespace=NAMESPACE)
    return found


def fetch(refs: Any, timeout_s: float | None = None) -> Any:
    """``ray.get``, where an error that an actor raised comes out as itself."""
    try:
        return ray.get(refs, timeout=timeout_s)
    except RayTaskError as error:
        raise error.cause from error


def none_left() -> PoolError:
    """Return the error of a pool whose actors have all ended."""
    return PoolError(
        "reward pool: no actor is left. They end with the process that started the pool, and "
        "at its close(): keep that process alive, and close the pool after the last request."
    )


class Attempt(Protocol[T_co]):
    """What one actor was asked; a :class:`concurrent.futures.Future` is one."""

    def done(self) -> bool:
        """Return whether the answer, or an error, is here."""

    def exception(self) -> BaseException | None:
        """Return the error, if there is one; called once it is done."""

    def result(self) -> T_co:
        """Return the answer; called once it is done."""


class Wake:
    """Lets one thread wait for shared memory and for Ray at once.

    Ray's answers come in a thread of Ray's, which writes a byte into a socket; replies in shared
    memory make a socket readable themselves.
    """

    def __init__(self) -> None:
        self._reads, self._writes = socket.socketpair()
        self._reads.setblocking(False)
        self._writes.setblocking(False)
        weakref.finalize(self, _close, self._reads, self._writes)

    def __call__(self, _: Any = None) -> None:
        """End a wait, now or the next one; to be called from any thread."""
        with contextlib.suppress(OSError):  # full, so it will wake; or closed
            self._writes.send(b"\0")

    def wait(self, attempts: Iterable[Attempt[Any]], timeout_s: float) -> None:
        """Wait until one of the attempts may be done, or the time is over."""
        poll = select.poll()
        poll.register(self._reads, select.POLLIN)
        for attempt in attempts:
            if isinstance(attempt, ScoreAttempt) and attempt.fileno() >= 0:
                poll.register(attempt.fileno(), select.POLLIN)
        poll.poll(1000 * timeout_s)
        with contextlib.suppress(BlockingIOError):
            self._reads.recv(4096)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


class ActorClient:
    """One client's way to one actor: in shared memory on its node, else through Ray.

    The first request of a scorer travels through Ray, with the scorer; once it is answered, the
    actor knows the scorer and a request in shared memory can name it. Where the connection breaks,
    since the actor's process ended, its requests go again through Ray, which waits for the actor's
    next process.

    Args:
        handle: of the actor.
        node: Ray's id of this client's node.
        wake: called when an answer has come through Ray.

    Attributes:
        handle: of the actor.
        is_local: whether the actor is on this node, as far as is known.
        reported_waiting, reported_at: how many frames queued there, and when the actor reported
            that (time.monotonic).
    """

    def __init__(self, handle: ActorHandle, node: str, wake: Callable[[Any], None]) -> None:
        self.handle, self._node, self._wake = handle, node, wake
        self._shared: SharedMemoryClient | None = None
        self._known: set[str] = set()
        self._is_closed = False
        self._failures = 0
        self._location: Future[Any] | None = None
        self.is_local = False
        self.reported_waiting, self.reported_at = 0, 0.0
        self._locate()

    def call(self, method: str, *args: Any) -> Future[Any]:
        """Call a method of the actor through Ray."""
        answer: Future[Any] = getattr(self.handle, method).remote(*args).future()
        answer.add_done_callback(self._wake)
        return answer

    def score(self, request: Request, scorer: ray.ObjectRef) -> "ScoreAttempt":
        """Take one request there.

        Args:
            request: what is asked.
            scorer: the scorer of its fingerprint, and the embeddings of the scorer's texts.
        """
        shared = self._connected() if request.fingerprint in self._known else None
        return ScoreAttempt(self, request, scorer, shared)

    def score_by_ray(self, request: Request, scorer: ray.ObjectRef) -> Future[Answer]:
        """Take one request there through Ray, for :class:`ScoreAttempt`."""
        # Ray 2.60 would start a cluster for a call after ray.shutdown().
        if self._is_closed or not ray.is_initialized():
            answer: Future[Answer] = Future()
            answer.set_exception(
                PoolError(
                    "reward pool: it was closed, or Ray was shut down, before the answer came. "
                    "Read the scores first."
                )
            )
            return answer
        request.frames = np.array(request.frames)
        return self.call("score", request, [scorer])

    def answered(self, fingerprint: str, answer: Answer) -> None:
        """Learn from an answer: the actor knows the scorer, and how much waits there."""
        self._known.add(fingerprint)
        self.reported_waiting, self.reported_at = answer.waiting, time.monotonic()

    def forget(self, fingerprint: str) -> None:
        """Send this scorer along with the next request."""
        self._known.discard(fingerprint)

    def close(self) -> None:
        """Close the connection, if there is one; what is under way ends with an error."""
        self._is_closed = True
        if self._shared is not None:
            self._shared.close()

    def _connected(self) -> SharedMemoryClient | None:
        if self._shared is not None and self._shared.is_broken:
            # The actor's process is another one, or none: it knows no scorer.
            self._shared = None
            self._known.clear()
            self._locate()
        if self._location is not None and self._location.done():
            location, self._location = self._location, None
            self._connect(location)
        return self._shared

    def _locate(self) -> None:
        def learn(location: Future[Any]) -> None:
            if location.exception() is None:
                self.is_local = location.result()[0] == self._node

        self._location = self.call("location")
        self._location.add_done_callback(learn)

    def _connect(self, location: Future[Any]) -> None:
        if location.exception() is not None:
            return  # the actor ended; its requests say so
        node, address = location.result()
        if node != self._node or address is None:
            return
        try:
            self._shared = SharedMemoryClient(address)
        except OSError as error:
            # The actor restarted just now, or is in another network namespace: a container's.
            _LOG.info("reward pool: no shared memory with an actor of this node. %s", error)
            self._failures += 1
            if self._failures <= _CONNECT_RETRIES:
                self._locate()
            return
        self._failures = 0


class ScoreAttempt:
    """One request at one actor: in shared memory, or through Ray where that fails or is not there.

    Args:
        client: the way to the actor.
        request: what is asked.
        scorer: see :meth:`ActorClient.score`.
        shared: the connection to take; None goes through Ray.
    """

    __slots__ = ("_answer", "_client", "_request", "_scorer", "_shared")

    def __init__(
        self,
        client: ActorClient,
        request: Request,
        scorer: ray.ObjectRef,
        shared: SharedMemoryClient | None,
    ) -> None:
        self._client, self._request, self._scorer = client, request, scorer
        self._shared = shared
        self._answer: Attempt[Answer] | None = None
        if shared is None:
            self._answer = client.score_by_ray(request, scorer)
            return
        exchange = shared.send(request, self._lost)
        if self._answer is None:  # nor lost already
            self._answer = exchange

    def fileno(self) -> int:
        """Return what becomes readable when the answer may be here; -1 if Ray brings it."""
        return self._shared.fileno() if self._shared is not None else -1

    def done(self) -> bool:
        """Return whether the scores, or an error, are here."""
        assert self._answer is not None
        if self._shared is not None and not self._answer.done():
            self._shared.receive()
        return self._answer.done()

    def exception(self) -> BaseException | None:
        """Return the error, if there is one."""
        assert self._answer is not None
        return self._answer.exception()

    def result(self) -> Scores:
        """Return the scores, float32 ``[B]``."""
        assert self._answer is not None
        answer = self._answer.result()
        self._client.answered(self._request.fingerprint, answer)
        return answer.scores

    def _lost(self) -> None:
        self._shared = None
        self._client.forget(self._request.fingerprint)
        try:
            self._answer = self._client.score_by_ray(self._request, self._scorer)
        except Exception as error:  # raised where the scores are read, not while others' are
            failed: Future[Answer] = Future()
            failed.set_exception(error)
            self._answer = failed


class Router:
    """One client's view of its actors: what each has to do, and which to avoid.

    Args:
        pause_s: how long an actor that was late is left to recover.

    Attributes:
        clients: the way to each actor, by its index.
        wake: ends a wait for an answer.
        retries: requests that were sent once more, since an actor was late or had ended.
    """

    def __init__(self, pause_s: float) -> None:
        self.clients: dict[int, ActorClient] = {}
        self.wake = Wake()
        self.retries = 0
        self._pause_s = pause_s
        self._under_way: dict[int, int] = {}
        self._paused_until: dict[int, float] = {}
        self._dead: set[int] = set()
        self._turn = os.getpid()  # so that clients do not all begin with the first actor

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """Return the index of an actor to send to, or None if all are tried or dead.

        The one with the least to do; among equals, one on this node; among those, the one whose
        turn it is, so that a client that sends one request at a time uses all actors.
        """
        now = time.monotonic()
        self._turn += 1
        return min(
            self._usable(tried),
            key=lambda i: (
                self._paused_until.get(i, 0.0) > now,
                self._load(i, now),
                not self.clients[i].is_local,
                (i - self._turn) % len(self.clients),
            ),
            default=None,
        )

    def first(self, tried: Collection[int] = ()) -> int | None:
        """Return the first actor that is left: the same for all clients, for work done once."""
        return min(self._usable(tried), default=None)

    def sent(self, actor: int, frames: int) -> None:
        """Count a request of so many frames as under way, until :meth:`ended`."""
        self._under_way[actor] = self._under_way.get(actor, 0) + frames

    def ended(self, actor: int, frames: int) -> None:
        """Count a request to this actor as answered, or given up."""
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

    def meet(self, actor: int, client: ActorClient) -> None:
        """Choose an actor that was started, or started anew, from now on."""
        self.clients[actor] = client
        self._dead.discard(actor)

    def close(self) -> None:
        """Close the connections; what is under way ends with an error. Idempotent."""
        for client in self.clients.values():
            client.close()

    def _usable(self, tried: Collection[int]) -> list[int]:
        return [i for i in self.clients if i not in tried and i not in self._dead]

    def _load(self, actor: int, now: float) -> int:
        """Return how many frames wait there: this client's, or more if the actor reported more."""
        client = self.clients[actor]
        reported = client.reported_waiting if now - client.reported_at < _REPORT_S else 0
        return max(self._under_way.get(actor, 0), reported)


class Roster:
    """The actors of a pool, and those that join it while it runs.

    Args:
        name: that of the pool.
        actors: the first ones, by their index.
        router: learns who comes and goes.

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
        self._router.meet(index, ActorClient(actor, self._node, self._router.wake))


class Pending(Generic[T]):
    """One request, sent; made by :class:`RewardPool`.

    Ray itself retries it if the actor's process dies (``max_task_retries=-1``). Here a time limit
    comes on top: past it the request also goes to another actor, and the first answer counts.
    Actors are stateless, so asking two is safe.

    Args:
        router: knows the actors.
        choose: returns the next actor to ask, given those that were asked; None if there is none.
        send: asks one; kept until the answer is here.
        frames: how many are asked for, for the router.
        timeout_s: seconds until the request goes to another actor, and then until it fails.

    Raises:
        PoolError: no actor is left.
    """

    def __init__(
        self,
        router: Router,
        choose: Callable[[Collection[int]], int | None],
        send: Callable[[ActorClient], Attempt[T]],
        *,
        frames: int,
        timeout_s: float,
    ) -> None:
        self._router, self._choose, self._frames = router, choose, frames
        self._send: Callable[[ActorClient], Attempt[T]] | None = send
        self._timeout_s = timeout_s
        self._tried: list[int] = []
        self._attempts: list[tuple[Attempt[T], int]] = []
        self._answer: T | None = None
        self._error: Exception | None = None
        self._is_settled = False
        if not self._send_elsewhere():
            raise none_left()

    def result(self) -> T:
        """Return the answer, waiting for it at most twice the time limit.

        Raises:
            PoolError: late twice, or no actor is left.
            FrameError, GoalError, RewardError, CheckpointError: raised in the actor.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        answer: Any = self._answer
        return answer  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Wait until the answer, or the actor's error, is here.

        Raises:
            PoolError: late twice, or no actor is left.
        """
        while not self._advance(self._timeout_s):
            for _, actor in self._attempts:
                self._router.late(actor)
            if len(self._attempts) > 1 or not self._send_elsewhere():
                self._settle(error=self._late_error())
        if isinstance(self._error, PoolError):
            raise self._error

    def poll(self) -> bool:
        """Return whether the answer, or an error, is here, without waiting."""
        return self._advance(0)

    def _advance(self, timeout_s: float) -> bool:
        """Receive until answered; False when nothing came within the time limit."""
        ends: float | None = None
        while not self._is_settled:
            done = next((each for each in self._attempts if each[0].done()), None)
            if done is not None:
                self._receive(*done)
                ends = None
                continue
            now = time.monotonic()
            ends = now + timeout_s if ends is None else ends
            if now >= ends:
                return False
            self._router.wake.wait((attempt for attempt, _ in self._attempts), ends - now)
        return True

    def _receive(self, attempt: Attempt[T], actor: int) -> None:
        error = attempt.exception()
        if isinstance(error, ActorDiedError):
            self._router.dead(actor)
            self._lose(attempt, actor, none_left())
        elif isinstance(error, RayTaskError):
            self._settle(error=error.cause)
        elif isinstance(error, RayError):
            self._lose(attempt, actor, PoolError(f"reward pool: Ray lost the request. {error}"))
        elif isinstance(error, Exception):
            self._settle(error=error)
        else:
            self._settle(attempt.result())

    def _lose(self, attempt: Attempt[T], actor: int, error: PoolError) -> None:
        self._attempts.remove((attempt, actor))
        self._router.ended(actor, self._frames)
        if not self._attempts and not self._send_elsewhere():
            self._settle(error=error)

    def _send_elsewhere(self) -> bool:
        actor = self._choose(self._tried)
        if actor is None or self._send is None:
            return False
        self._router.retries += bool(self._tried)
        self._tried.append(actor)
        self._router.sent(actor, self._frames)
        self._attempts.append((self._send(self._router.clients[actor]), actor))
        return True

    def _settle(self, answer: T | None = None, error: Exception | None = None) -> None:
        for _, actor in self._attempts:
            self._router.ended(actor, self._frames)
        self._attempts.clear()
        self._send = None
        self._answer, self._error, self._is_settled = answer, error, True

    def _late_error(self) -> PoolError:
        return PoolError(
            f"reward pool: no answer from {len(self._tried)} actor(s) within "
            f"timeout_s={self._timeout_s:g} seconds each. If the actors are slow rather than "
            "stuck, raise timeout_s (a restarted actor must load its model in that time), "
            "or lower max_batch_size and max_in_flight, or add actors."
        )


PendingScores = Pending[Scores]
