"""An answer that is under way, from one actor or, where that is late, from another."""

import concurrent.futures
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.courier import Courier
from rllib_vlm_reward.serving.request import Scores
from rllib_vlm_reward.serving.routing import Router

__all__ = ["Pending", "PendingScores", "fetch", "none_left"]

T = TypeVar("T")


def fetch(refs: Any, timeout_s: float | None = None) -> Any:
    """``ray.get``, where an error that an actor raised comes out as itself."""
    try:
        return ray.get(refs, timeout=timeout_s)
    except RayTaskError as error:
        raise error.cause from error


class Pending(Generic[T]):
    """One request, sent; made by :class:`RewardPool`.

    Ray itself retries it if the actor's process dies (``max_task_retries=-1``). Here a time limit
    comes on top: past it the request also goes to another actor, and the first answer counts.
    Actors are stateless, so asking two is safe.

    Args:
        router: knows the actors.
        choose: of them the next to ask, given those that were; None if there is none.
        send: asks one; kept until the answer is here.
        frames: that are asked for, for the router.
        timeout_s: seconds until the request goes to another actor, and then until it fails.

    Raises:
        PoolError: no actor is left.
    """

    def __init__(
        self,
        router: Router,
        choose: Callable[[Collection[int]], int | None],
        send: Callable[[Courier], Future[T]],
        *,
        frames: int,
        timeout_s: float,
    ) -> None:
        self._router, self._choose, self._frames = router, choose, frames
        self._send: Callable[[Courier], Future[T]] | None = send
        self._timeout_s = timeout_s
        self._tried: list[int] = []
        self._attempts: dict[Future[T], int] = {}
        self._answer: Future[T] = Future()
        if not self._send_elsewhere():
            raise none_left()

    def result(self) -> T:
        """Return the answer, waiting for it at most twice the time limit.

        Raises:
            PoolError: late twice, or no actor is left.
            FrameError, GoalError, RewardError, CheckpointError: raised in the actor.
        """
        self.wait()
        return self._answer.result()

    def wait(self) -> None:
        """Wait until the answer, or the actor's error, is here.

        Raises:
            PoolError: late twice, or no actor is left.
        """
        while not self._advance(self._timeout_s):
            for actor in self._attempts.values():
                self._router.late(actor)
            if len(self._attempts) > 1 or not self._send_elsewhere():
                self._settle(error=self._late_error())
        error = self._answer.exception()
        if isinstance(error, PoolError):
            raise error

    def poll(self) -> bool:
        """Return whether the answer, or an error, is here, without waiting."""
        return self._advance(0)

    def _advance(self, timeout_s: float) -> bool:
        """Receive until answered; False when nothing came within the time limit."""
        while not self._answer.done():
            done = {attempt for attempt in self._attempts if attempt.done()}
            if not done and timeout_s:
                done, _ = concurrent.futures.wait(
                    self._attempts, timeout_s, concurrent.futures.FIRST_COMPLETED
                )
            if not done:
                return False
            self._receive(done.pop())
        return True

    def _receive(self, attempt: Future[T]) -> None:
        error = attempt.exception()
        if isinstance(error, ActorDiedError):
            self._router.dead(self._attempts[attempt])
            self._lose(attempt, none_left())
        elif isinstance(error, RayTaskError):
            self._settle(error=error.cause)
        elif isinstance(error, RayError):
            self._lose(attempt, PoolError(f"reward pool: Ray lost the request. {error}"))
        elif isinstance(error, Exception):
            self._settle(error=error)
        else:
            self._settle(attempt.result())

    def _lose(self, attempt: Future[T], error: PoolError) -> None:
        self._router.ended(self._attempts.pop(attempt), self._frames)
        if not self._attempts and not self._send_elsewhere():
            self._settle(error=error)

    def _send_elsewhere(self) -> bool:
        actor = self._choose(self._tried)
        if actor is None or self._send is None:
            return False
        self._router.retries += bool(self._tried)
        self._tried.append(actor)
        self._router.sent(actor, self._frames)
        self._attempts[self._send(self._router.couriers[actor])] = actor
        return True

    def _settle(self, value: Any = None, error: Exception | None = None) -> None:
        for actor in self._attempts.values():
            self._router.ended(actor, self._frames)
        self._attempts.clear()
        self._send = None
        if error is None:
            self._answer.set_result(value)
        else:
            self._answer.set_exception(error)

    def _late_error(self) -> PoolError:
        return PoolError(
            f"reward pool: no answer from {len(self._tried)} actor(s) within "
            f"timeout_s={self._timeout_s:g} seconds each. If the actors are slow rather than "
            "stuck, raise timeout_s (a restarted actor must load its model in that time), "
            "or lower max_batch_size and max_in_flight, or add actors."
        )


PendingScores = Pending[Scores]


def none_left() -> PoolError:
    """Return the error of a pool whose actors have all ended."""
    return PoolError(
        "reward pool: no actor is left. They end with the process that started the pool, and "
        "at its close(): keep that process alive, and close the pool after the last request."
    )
