"""Joins the requests that wait into one batch: while one batch runs, the next one forms.

There is no timer. A lone request runs at once; under load, batches grow to what queued meanwhile.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import numpy as np

from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.request import Goals, Scores, check_request

__all__ = ["Batch", "Batcher"]

S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class Batch:
    """What one batch took, for whoever keeps count.

    Attributes:
        frames: how many were scored, B.
        seconds: from the start of the batch to its scores.
        latencies: seconds from a request's arrival to its scores, one a request.
        waiting: requests that still queue.
    """

    frames: int
    seconds: float
    latencies: tuple[float, ...]
    waiting: int


@dataclasses.dataclass(frozen=True)
class _Request(Generic[S]):
    frames: Frames
    goals: Goals
    scorer: S
    arrived: float = dataclasses.field(default_factory=time.perf_counter)
    future: Future[Scores] = dataclasses.field(default_factory=Future)

    def joins(self, other: "_Request[S]") -> bool:
        # By identity: comparing the content of two scorers may cost more than a batch.
        return self.scorer is other.scorer and self.frames.shape[1:] == other.frames.shape[1:]


class Batcher(Generic[S]):
    """One worker thread that scores requests, joined where scorer and frame size are the same.

    An error in a joined batch is pinned down by scoring its requests one by one, so a bad request
    fails alone.

    Args:
        score: frames uint8 ``[B, H, W, 3]`` (may be read-only), goals int64 ``[B]`` and their
            scorer -> scores float32 ``[B]``. Called in the worker thread only.
        max_batch_size: the largest B; a request above it is scored in slices.
        observe: told of each batch, in the worker thread.

    Example:
        >>> batcher = Batcher(lambda frames, goals, scale: scale * goals.astype(np.float32),
        ...                   max_batch_size=8)
        >>> batcher.submit(np.zeros((2, 4, 4, 3), np.uint8), np.array([3, 4]), 0.5).result()
        array([1.5, 2. ], dtype=float32)
        >>> batcher.close()
    """

    def __init__(
        self,
        score: Callable[[Frames, Goals, S], Scores],
        *,
        max_batch_size: int,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self._score = score
        self._max_batch_size = max_batch_size
        self._observe = observe
        self._queue: deque[_Request[S]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """How many requests queue."""
        return len(self._queue)

    def submit(self, frames: Frames, goals: Goals, scorer: S) -> Future[Scores]:
        """Queue one request.

        Args:
            frames: uint8 ``[B, H, W, 3]``.
            goals: int64 ``[B]``.
            scorer: passed to ``score``; requests join only where it is the same object.

        Returns:
            the future of the scores, float32 ``[B]``, or of the error that ``score`` raised.

        Raises:
            FrameError, GoalError: see :func:`check_request`.
            PoolError: the batcher is closed.
        """
        check_request(frames, goals)
        request = _Request(frames, goals, scorer)
        request.future.set_running_or_notify_cancel()  # so nobody can cancel it under the worker
        with self._changed:
            if self._closed:
                raise PoolError("batcher: got a request after close(). Submit before closing.")
            self._queue.append(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Score what is queued, then stop the worker. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run(batch)

    def _next_batch(self) -> list[_Request[S]]:
        """Take the oldest request and all that join it, in order of arrival; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            batch: list[_Request[S]] = []
            left: deque[_Request[S]] = deque()
            room = self._max_batch_size
            for request in self._queue:
                if not batch or (request.joins(batch[0]) and len(request.frames) <= room):
                    batch.append(request)
                    room -= len(request.frames)
                else:
                    left.append(request)
            self._queue = left
            return batch

    def _run(self, batch: list[_Request[S]]) -> None:
        start = time.perf_counter()
        try:
            scores = self._forward(batch)
            self._report(batch, start)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:
                for request in batch:
                    self._run([request])
            return
        ends = np.cumsum([len(request.frames) for request in batch])
        for request, part in zip(batch, np.split(scores, ends[:-1]), strict=True):
            request.future.set_result(part)

    def _report(self, batch: list[_Request[S]], start: float) -> None:
        end = time.perf_counter()
        latencies = tuple(end - request.arrived for request in batch)
        frames = sum(len(request.frames) for request in batch)
        self._observe(Batch(frames, end - start, latencies, self.waiting))

    def _forward(self, batch: list[_Request[S]]) -> Scores:
        frames, goals = batch[0].frames, batch[0].goals
        if len(batch) > 1:
            frames = np.concatenate([request.frames for request in batch])
            goals = np.concatenate([request.goals for request in batch])
        size = self._max_batch_size
        slices = [slice(i, i + size) for i in range(0, max(len(frames), 1), size)]
        scores = [self._score(frames[part], goals[part], batch[0].scorer) for part in slices]
        joined = scores[0] if len(scores) == 1 else np.concatenate(scores)
        if joined.shape != goals.shape:
            raise RewardError(
                f"scores: got {list(joined.shape)}, expected {list(goals.shape)}, one a frame."
            )
        return joined
