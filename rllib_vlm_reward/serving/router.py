"""Sends a client's requests to the actors of its pool, and receives the answers.

An :class:`ActorClient` sends requests to one actor, a :class:`Router` chooses among the actors, a
:class:`Roster` keeps the list of actors up to date, and a :class:`Pending` is a request that waits
for its answer.
"""

import contextlib
import logging
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
from rllib_vlm_reward.serving.load_balancer import LoadBalancer
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
_CHECK_S = 5.0


def present(name: str) -> dict[int, ActorHandle]:
    """Return the running actors of a pool by their index."""
    running = ray.util.list_named_actors(all_namespaces=True)
    prefix = f"{name}/"
    names = [actor["name"] for actor in running if actor["namespace"] == NAMESPACE]
    suffixes = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    # A suffix such as "eval/0" belongs to another pool.
    indices = {int(suffix) for suffix in suffixes if suffix.isdecimal()}
    actors = {}
    for index in sorted(indices):
        with contextlib.suppress(ValueError):  # the actor has ended meanwhile
            actors[index] = ray.get_actor(f"{prefix}{index}", namespace=NAMESPACE)
    return actors


def fetch(refs: Any, timeout_s: float | None = None) -> Any:
    """Call ``ray.get``, and raise an actor's error without Ray's wrapper."""
    try:
        return ray.get(refs, timeout=timeout_s)
    except RayTaskError as error:
        raise error.cause from error


def none_left() -> PoolError:
    """Return the error of a pool whose actors have all ended."""
    return PoolError(
        "reward pool: no actor is left. Actors end with the process that started the pool, and at "
        "its close(). Keep that process alive, and close the pool after the last request."
    )


class Attempt(Protocol[T_co]):
    """A request that was sent to one actor, such as a :class:`concurrent.futures.Future`."""

    def done(self) -> bool:
        """Return whether the answer or an error has arrived."""

    def exception(self) -> BaseException | None:
        """Return the error, or None. Call it only when done."""

    def result(self) -> T_co:
        """Return the answer. Call it only when done."""


class Wake:
    """Lets one thread wait at the same time for answers through shared memory and through Ray.

    Ray's thread writes a byte into a socket when an answer arrives. A reply in shared memory
    arrives on a socket anyway.
    """

    def __init__(self) -> None:
        self._reads, self._writes = socket.socketpair()
        self._reads.setblocking(False)
        self._writes.setblocking(False)
        weakref.finalize(self, _close, self._reads, self._writes)

    def __call__(self, _: Any = None) -> None:
        """End the current or next :meth:`wait`. Any thread may call this."""
        with contextlib.suppress(OSError):  # the socket is full, so it will wake, or closed
            self._writes.send(b"\0")

    def wait(self, attempts: Iterable[Attempt[Any]], timeout_s: float) -> None:
        """Wait until one of the attempts may be done, at most ``timeout_s`` seconds."""
        poll = select.poll()
        poll.register(self._reads, select.POLLIN)
        for attempt in attempts:
            if isinstance(attempt, ScoreAttempt) and attempt.fileno() >= 0:
                poll.register(attempt.fileno(), select.POLLIN)
        poll.poll(1000 * timeout_s)
        with contextlib.suppress(BlockingIOError):
            self._reads.recv(4096)


def _close(*sockets: socket.socket) -> None:
    for socket_ in sockets:
        socket_.close()


class ActorClient:
    """Sends a client's requests to one actor, in shared memory on the same node, else through Ray.

    The first request with a scorer is sent through Ray, together with the scorer. After the answer,
    the actor has the scorer, and requests in shared memory refer to it by its fingerprint. If the
    connection breaks because the actor's process ended, its requests are sent again through Ray,
    which waits for the actor's next process.

    Args:
        handle: the actor's handle.
        node: Ray's id of this client's node.
        wake: called when an answer has arrived through Ray.
        located: called when ``is_local`` may have changed, in a thread of Ray's.

    Attributes:
        handle: the actor's handle.
        is_local: whether the actor is on this node; False until that is known.
        reported_waiting: how many frames waited at the actor, according to its last answer.
        reported_at: when that answer arrived (time.monotonic).
    """

    def __init__(
        self,
        handle: ActorHandle,
        node: str,
        wake: Callable[[Any], None],
        located: Callable[[], None],
    ) -> None:
        self.handle, self._node, self._wake, self._located = handle, node, wake, located
        self._shared: SharedMemoryClient | None = None
        self._sent_scorers: set[str] = set()  # fingerprints
        self._is_closed = False
        self._failures = 0
        self._location: Future[Any] | None = None
        self._unanswered: dict[Future[Any], ray.ObjectRef] = {}
        self.is_local = False
        self.reported_waiting, self.reported_at = 0, 0.0
        self._locate()

    def call(self, method: str, *args: Any) -> Future[Any]:
        """Call a method of the actor through Ray."""
        ref = getattr(self.handle, method).remote(*args)
        answer: Future[Any] = ref.future()
        self._unanswered[answer] = ref
        answer.add_done_callback(self._unanswered.pop)
        answer.add_done_callback(self._wake)
        return answer

    def cancel(self) -> None:
        """Cancel the calls that the actor has not answered. They end with an error of Ray."""
        for ref in self._unanswered.copy().values():
            ray.cancel(ref)

    def score(self, request: Request, scorer: ray.ObjectRef) -> "ScoreAttempt":
        """Send one request.

        Args:
            request: the request.
            scorer: reference to the request's scorer and the embeddings of the scorer's texts.
        """
        shared = self._connected() if request.fingerprint in self._sent_scorers else None
        return ScoreAttempt(self, request, scorer, shared)

    def score_by_ray(self, request: Request, scorer: ray.ObjectRef) -> Future[Answer]:
        """Send one request through Ray, for :class:`ScoreAttempt`."""
        # After ray.shutdown(), a call would start a new cluster (Ray 2.60).
        if self._is_closed or not ray.is_initialized():
            answer: Future[Answer] = Future()
            answer.set_exception(
                PoolError(
                    "reward pool: it was closed, or Ray was shut down, before the answer arrived. "
                    "Read the scores first."
                )
            )
            return answer
        request.frames = np.array(request.frames)
        return self.call("score", request, [scorer])

    def answered(self, fingerprint: str, answer: Answer) -> None:
        """Note from an answer that the actor has the scorer, and how many frames wait."""
        self._sent_scorers.add(fingerprint)
        self.reported_waiting, self.reported_at = answer.waiting, time.monotonic()

    def forget(self, fingerprint: str) -> None:
        """Send this scorer again with the next request."""
        self._sent_scorers.discard(fingerprint)

    def close(self) -> None:
        """Close the connection, if there is one. Unanswered requests end with an error."""
        self._is_closed = True
        if self._shared is not None:
            self._shared.close()

    def _connected(self) -> SharedMemoryClient | None:
        if self._shared is not None and self._shared.is_broken:
            # The actor's process ended, and a new one has no scorers.
            self._shared = None
            self._sent_scorers.clear()
            self._locate()
        if self._location is not None and self._location.done():
            location, self._location = self._location, None
            self._connect(location)
        return self._shared

    def _locate(self) -> None:
        def set_is_local(location: Future[Any]) -> None:
            if location.exception() is None:
                self.is_local = location.result()[0] == self._node
                self._located()

        self._location = self.call("location")
        self._location.add_done_callback(set_is_local)

    def _connect(self, location: Future[Any]) -> None:
        if location.exception() is not None:
            return  # the actor ended; its requests report that
        node, address = location.result()
        if node != self._node or address is None:
            return
        try:
            self._shared = SharedMemoryClient(address)
        except OSError as error:
            # The actor has just restarted, or is in the network namespace of another container.
            _LOG.info("reward pool: cannot use shared memory with an actor on this node. %s", error)
            self._failures += 1
            if self._failures <= _CONNECT_RETRIES:
                self._locate()
            return
        self._failures = 0


class ScoreAttempt:
    """A request that was sent to one actor, in shared memory, or through Ray if that fails.

    Args:
        client: the client of the actor.
        request: the request.
        scorer: see :meth:`ActorClient.score`.
        shared: the shared-memory connection; None sends the request through Ray.
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
        exchange = shared.send(request, self._send_by_ray)
        if self._answer is None:  # _send_by_ray was not called
            self._answer = exchange

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the answer may be here; -1 with Ray."""
        return self._shared.fileno() if self._shared is not None else -1

    def done(self) -> bool:
        """Return whether the scores or an error have arrived."""
        assert self._answer is not None
        if self._shared is not None and not self._answer.done():
            self._shared.receive()
        return self._answer.done()

    def exception(self) -> BaseException | None:
        """Return the error, or None."""
        assert self._answer is not None
        return self._answer.exception()

    def result(self) -> Scores:
        """Return the scores, float32 ``[B]`` or ``[B, C]``."""
        assert self._answer is not None
        answer = self._answer.result()
        self._client.answered(self._request.fingerprint, answer)
        return answer.scores

    def _send_by_ray(self) -> None:
        self._shared = None
        self._client.forget(self._request.fingerprint)
        try:
            self._answer = self._client.score_by_ray(self._request, self._scorer)
        except Exception as error:  # raise it when these scores are read
            failed: Future[Answer] = Future()
            failed.set_exception(error)
            self._answer = failed


class Router(LoadBalancer[ActorClient]):
    """Chooses the actor for a request, and holds what all requests of a client share.

    Args:
        pause_s: seconds during which an actor that was late is avoided.

    Attributes:
        wake: ends a wait for an answer.
        retries: number of requests that were sent again, since an actor was late or had ended.
    """

    def __init__(self, pause_s: float) -> None:
        super().__init__(pause_s)
        self.wake = Wake()
        self.retries = 0

    def cancel(self) -> None:
        """Cancel what was sent through Ray and is not answered."""
        for client in self.clients.values():
            client.cancel()

    def close(self) -> None:
        """Close the connections. Unanswered requests end with an error. Idempotent."""
        for client in self.clients.values():
            client.close()


class Roster:
    """The list of a pool's actors, updated while the autoscaler starts and ends actors.

    Args:
        name: the name of the pool.
        actors: the first actors, in the order of their indices.
        router: gets new actors, and is informed about dead ones.

    Attributes:
        actors: the actors by their index.
    """

    def __init__(self, name: str, actors: Sequence[ActorHandle], router: Router) -> None:
        self._name, self._router = name, router
        self._node = ray.get_runtime_context().get_node_id()
        self._checked_at = time.monotonic()
        self._loading: dict[int, tuple[ActorClient, Future[Any]]] = {}
        self.actors: dict[int, ActorHandle] = {}
        for index, actor in enumerate(actors):
            self._add(index, self._client(actor))

    def update(self) -> None:
        """Every few seconds, add new actors that have loaded their model, and remove dead ones."""
        if time.monotonic() - self._checked_at < _CHECK_S:
            return
        self._checked_at = time.monotonic()
        running = present(self._name)
        for index in list(self.actors):
            if index not in running or self._router.is_dead(index):
                self._router.dead(index)
                del self.actors[index]
        # An actor has its name before it has loaded its model.
        for index in running.keys() - self.actors.keys() - self._loading.keys():
            client = self._client(running[index])
            self._loading[index] = client, client.call("describe")
        for index, (client, loaded) in list(self._loading.items()):
            if loaded.done():
                del self._loading[index]
                if loaded.exception() is None:
                    self._add(index, client)

    def cancel(self) -> None:
        """Cancel what new actors were asked and have not answered."""
        for client, _ in self._loading.values():
            client.cancel()

    def _client(self, actor: ActorHandle) -> ActorClient:
        return ActorClient(actor, self._node, self._router.wake, self._router.located)

    def _add(self, index: int, client: ActorClient) -> None:
        self.actors[index] = client.handle
        self._router.add(index, client)


class Pending(Generic[T]):
    """A request that waits for its answer; :class:`.RewardPool` creates it.

    If the actor's process dies, Ray sends the request again (``max_task_retries=-1``). If the
    answer does not arrive in time, the request is also sent to a second actor, and the first answer
    counts. Actors are stateless, so it is safe to ask two.

    Args:
        router: has the clients of the actors.
        choose: gets the actors that were asked; returns the next actor to ask, or None.
        send: sends the request to an actor; kept until the answer has arrived.
        frames: number of frames in the request, for the router.
        timeout_s: seconds until the request is sent to a second actor, and then until it fails.

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
        """Wait for the answer, at most twice ``timeout_s``, and return it.

        Raises:
            PoolError: two actors did not answer in time, or no actor is left.
            CheckpointError: the actor raised it.
            FrameError: the actor raised it.
            GoalError: the actor raised it.
            RewardError: the actor raised it.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        answer: Any = self._answer
        return answer  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Wait until the answer or the actor's error has arrived.

        Raises:
            PoolError: two actors did not answer in time, or no actor is left.
        """
        while not self._advance(self._timeout_s):
            for _, actor in self._attempts:
                self._router.late(actor)
            if len(self._attempts) > 1 or not self._send_elsewhere():
                self._settle(error=self._late_error())
        if isinstance(self._error, PoolError):
            raise self._error

    def poll(self) -> bool:
        """Return, without waiting, whether the answer or an error has arrived."""
        return self._advance(0)

    def abandon(self) -> None:
        """Give up the request; to read its answer is an error from now on."""
        self._settle(
            error=PoolError("reward pool: the request was given up, since an earlier one was late.")
        )

    def _advance(self, timeout_s: float) -> bool:
        """Wait for an answer; return False if nothing arrived within ``timeout_s``."""
        deadline: float | None = None
        while not self._is_settled:
            done = next((attempt for attempt in self._attempts if attempt[0].done()), None)
            if done is not None:
                self._receive(*done)
                deadline = None
                continue
            now = time.monotonic()
            deadline = now + timeout_s if deadline is None else deadline
            if now >= deadline:
                return False
            self._router.wake.wait((attempt for attempt, _ in self._attempts), deadline - now)
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
            f"timeout_s={self._timeout_s:g} seconds each. If the actors are slow but not "
            "stuck, raise timeout_s (a restarted actor must load its model in that time), "
            "lower max_batch_size and max_in_flight, or add actors."
        )


PendingScores = Pending[Scores]
