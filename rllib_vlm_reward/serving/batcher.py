"""Joins waiting requests into batches: while some batches run, the next ones form.

There is no timer. A single request runs at once; under load, a batch takes the requests that
arrived during the previous batches. :class:`.FairQueue` chooses them; here are the threads.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Generic, TypeVar, cast

import numpy as np

from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.fair_queue import FairQueue
from rllib_vlm_reward.serving.request import Goals, Request, Scores

__all__ = ["Batch", "Batcher"]

S = TypeVar("S")


@dataclasses.dataclass(frozen=True)
class Batch:
    """A report about one batch.

    Attributes:
        frames: number of frames scored.
        seconds: time from the start of the batch to its scores.
        latencies: for each request that this batch completed, the seconds from its arrival to its
            last score.
        waiting: number of frames that still wait in the queue.
    """

    frames: int
    seconds: float
    latencies: tuple[float, ...]
    waiting: int


class _Queued(Generic[S]):
    """A waiting request. It is scored completely or in parts, by one or several lanes."""

    def __init__(self, request: Request, scorer: S) -> None:
        self.frames: Frames = cast(Frames, request.frames)  # one array, in the actor
        self.goals, self.scorer, self.run = request.goals, scorer, request.run
        self.arrived = time.perf_counter()
        self.future: Future[Scores] = Future()
        self.future.set_running_or_notify_cancel()  # so nobody can cancel it
        self._scores: Scores | None = None  # made when it is known how many numbers a frame gets
        self._error: Exception | None = None
        self._missing = max(len(self.goals), 1)  # an empty request has one empty part
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.goals)

    def can_join(self, other: "_Queued[S]") -> bool:
        # Compare scorers by identity, since comparing their content may cost more than a batch.
        return self.scorer is other.scorer and self.frames.shape[1:] == other.frames.shape[1:]

    def add_scores(self, part: slice, scores: Scores) -> bool:
        """Store a part's scores; return whether it was the last missing part."""
        with self._lock:
            if self._scores is None:
                self._scores = np.empty((len(self.goals), *scores.shape[1:]), np.float32)
            self._scores[part] = scores
            return self._one_less(part)

    def fail(self, part: slice, error: Exception) -> bool:
        """Store a part's error; return whether it was the last missing part."""
        with self._lock:
            self._error = self._error or error
            return self._one_less(part)

    def finish(self) -> None:
        """Set the result. No lane may read the frames any more, since their memory is reused."""
        if self._error is None:
            self.future.set_result(cast(Scores, self._scores))
        else:
            self.future.set_exception(self._error)

    def _one_less(self, part: slice) -> bool:
        self._missing -= max(part.stop - part.start, 1)
        return not self._missing


@dataclasses.dataclass(frozen=True)
class _Part(Generic[S]):
    request: _Queued[S]
    rows: slice

    @property
    def frames(self) -> Frames:
        return self.request.frames[self.rows]

    @property
    def goals(self) -> Goals:
        return self.request.goals[self.rows]


class Batcher(Generic[S]):
    """Scores requests in lanes, and joins requests with the same scorer and frame size.

    A lane is a thread. While the batch of one lane is transferred to the device, the batch of
    another is computed. If a joined batch raises an error, its requests are scored one by one, so
    that only the faulty request fails.

    Args:
        score: gets a list of frame batches, each uint8 ``[b, H, W, 3]`` (possibly read-only), their
            goals, int64 ``[sum of b]``, and the scorer; returns the scores, float32
            ``[sum of b]``, or ``[sum of b, C]`` if the scorer has readouts. Several lanes call it
            at the same time.
        max_batch_size: the largest number of frames in a batch; may be set later.
        lanes: how many batches run at once.
        splits: whether to divide the waiting frames among the idle lanes. Useful if each lane has
            separate cores.
        lane: returns the context manager in which each lane runs.
        observe: gets a report about each batch, in the lane's thread.

    Attributes:
        max_batch_size: the largest number of frames in a batch.

    Example:
        >>> batcher = Batcher(lambda batches, goals, scale: scale * goals.astype(np.float32),
        ...                   max_batch_size=8)
        >>> request = Request(np.zeros((2, 4, 4, 3), np.uint8), np.array([3, 4]), "ab" * 32)
        >>> batcher.submit(request, 0.5).result()
        array([1.5, 2. ], dtype=float32)
        >>> batcher.close()
    """

    def __init__(
        self,
        score: Callable[[list[Frames], Goals, S], Scores],
        *,
        max_batch_size: int,
        lanes: int = 1,
        splits: bool = False,
        lane: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self.max_batch_size = max_batch_size
        self._score, self._splits = score, splits
        self._lane, self._observe = lane, observe
        self._queue: FairQueue[_Queued[S]] = FairQueue()
        self._idle = 0
        self._changed = threading.Condition()
        self._closed = False
        self._lanes = [
            threading.Thread(target=self._work, name=f"lane-{i}", daemon=True) for i in range(lanes)
        ]
        for thread in self._lanes:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many frames wait in the queue."""
        return self._queue.waiting

    def submit(self, request: Request, scorer: S) -> Future[Scores]:
        """Put one request into the queue.

        Runs with waiting requests get the same number of frames scored, except that a request which
        fits into the batch of another run is scored early.

        Args:
            request: a checked request whose frames are one array. Do not change frames and goals
                until the future is done.
            scorer: passed to ``score``. Only requests with the same object are joined.

        Returns:
            A future of the scores, float32 ``[B]`` or ``[B, C]``, or of the error that ``score``
            raised.

        Raises:
            PoolError: the batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise PoolError(
                    "batcher: got a request after close(). Submit all requests before close()."
                )
            queued = _Queued(request, scorer)
            self._queue.add(queued)
            self._changed.notify(len(self._lanes) if self._splits else 1)
        return queued.future

    def close(self) -> None:
        """Score the waiting requests, then stop the lanes. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._lanes:
            thread.join()

    def _work(self) -> None:
        with self._lane():
            while self._run_next():
                pass

    def _run_next(self) -> bool:
        batch = self._next_batch()
        if batch:
            self._run(batch)
        return bool(batch)

    def _next_batch(self) -> list[_Part[S]]:
        """Take frames of the next request and of requests that can join it; none after close."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._queue or self._closed)
            taken = self._queue.take(self.max_batch_size, self._idle if self._splits else 1)
            self._idle -= 1
            return [_Part(request, rows) for request, rows in taken]

    def _run(self, batch: list[_Part[S]]) -> None:
        start = time.perf_counter()
        try:
            scores = self._forward(batch)
        except Exception as error:
            if len(batch) > 1:
                for part in batch:
                    self._run([part])
            elif batch[0].request.fail(batch[0].rows, error):
                batch[0].request.finish()
            return
        ends = np.cumsum([len(part.goals) for part in batch])
        complete = [
            part
            for part, part_scores in zip(batch, np.split(scores, ends[:-1]), strict=True)
            if part.request.add_scores(part.rows, part_scores)
        ]
        try:
            self._report(len(scores), start, complete)
        except Exception as error:
            for part in complete:
                part.request.fail(part.rows, error)
        for part in complete:
            part.request.finish()

    def _report(self, frames: int, start: float, complete: list[_Part[S]]) -> None:
        end = time.perf_counter()
        latencies = tuple(end - part.request.arrived for part in complete)
        self._observe(Batch(frames, end - start, latencies, self.waiting))

    def _forward(self, batch: list[_Part[S]]) -> Scores:
        goals = batch[0].goals if len(batch) == 1 else np.concatenate([p.goals for p in batch])
        scores = self._score([part.frames for part in batch], goals, batch[0].request.scorer)
        if scores.shape[:1] != goals.shape:
            raise RewardError(
                f"scores: got the shape {list(scores.shape)}, expected {list(goals.shape)}, one "
                "score for each frame. Correct the function that scores."
            )
        return scores
