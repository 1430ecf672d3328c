"""The shared-memory client, which sends requests to one actor on the same node."""

import itertools
import socket
import weakref
from collections.abc import Callable

import numpy as np

from rllib_vlm_reward.serving.request import Answer, Request
from rllib_vlm_reward.serving.shared_memory.protocol import (
    LONGEST,
    Ask,
    Reply,
    Segment,
    SharedMemoryError,
    check_user,
)

__all__ = ["Exchange", "SharedMemoryClient"]


class Exchange:
    """A request that was sent, with the methods of a done :class:`concurrent.futures.Future`.

    :meth:`SharedMemoryClient.receive` sets its answer or error.

    Attributes:
        segment: the shared memory of the request, or None if it could not be sent.
        shape: B, H and W of the frames.
        columns: C, how many numbers answer a frame.
    """

    __slots__ = ("_answer", "_error", "_lost", "columns", "segment", "shape")

    def __init__(
        self,
        segment: Segment | None,
        shape: tuple[int, int, int],
        columns: int,
        lost: Callable[[], None],
    ) -> None:
        self.segment, self.shape, self.columns = segment, shape, columns
        self._lost: Callable[[], None] | None = lost
        self._answer: Answer | None = None
        self._error: Exception | None = None

    def done(self) -> bool:
        """Return whether the answer or an error has arrived."""
        return self._lost is None

    def exception(self) -> Exception | None:
        """Return the error that scoring raised, a SharedMemoryError, or None."""
        return self._error

    def result(self) -> Answer:
        """Return the answer, or raise the error."""
        if self._answer is None:
            raise self._error or RuntimeError("the exchange is not done")
        return self._answer

    def settle(self, answer: Answer | None = None, error: Exception | None = None) -> None:
        """Set the answer or the error."""
        lost, self._lost = self._lost, None  # breaks a reference cycle with the owner
        self._answer, self._error = answer, error
        if lost is not None and isinstance(error, SharedMemoryError):
            lost()


class SharedMemoryClient:
    """Sends requests to an actor on the same node; frames are copied once, into shared memory.

    It is not thread-safe. No background thread waits for replies, since it would compete for the
    GIL with the thread that steps the envs. To get answers, call :meth:`receive`; to wait for them,
    use :meth:`fileno` with :mod:`select`.

    Args:
        address: the address of the actor's
            :class:`~rllib_vlm_reward.serving.shared_memory.server.SharedMemoryServer`.

    Attributes:
        is_broken: whether the actor's process ended, or :meth:`close` was called.

    Raises:
        OSError: no process listens at the address, or it belongs to another user.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(address)
            check_user(self._socket)
        except OSError:
            self._socket.close()
            raise
        self._finalizer = weakref.finalize(self, self._socket.close)
        self._numbers, self._indices = itertools.count(), itertools.count()
        self._under_way: dict[int, Exchange] = {}
        self._free: list[Segment] = []
        self.is_broken = False

    def fileno(self) -> int:
        """Return a descriptor that is readable when a reply arrives; -1 if the connection broke."""
        return self._socket.fileno()

    def send(self, request: Request, lost: Callable[[], None] = lambda: None) -> Exchange:
        """Send one request.

        Args:
            request: the request; its ``frames`` are replaced by the copy in shared memory.
            lost: called if the exchange ends with a SharedMemoryError, while ``request.frames``
                still is the copy.

        Returns:
            The exchange, which is done when the reply has been received.
        """
        shape, columns = request.shape, request.columns
        if self.is_broken:
            exchange = Exchange(None, shape, columns, lost)
            exchange.settle(error=_ended())
            return exchange
        segment = self._take(Segment.size_of(shape, columns))
        exchange = Exchange(segment, shape, columns, lost)
        number = next(self._numbers)
        self._under_way[number] = exchange
        place = segment.views(shape, columns)
        if isinstance(request.frames, list | tuple):
            np.concatenate(request.frames, out=place.frames.reshape(-1, shape[2], 3))
        elif len(request):
            place.frames[:] = request.frames
        place.goals[:] = request.goals
        request.frames = place.frames
        message = Ask(number, segment.index, shape, request.fingerprint, request.run).pack()
        try:
            segment.send(self._socket, message)
        except OSError:
            self.close()
        return exchange

    def receive(self) -> None:
        """Read the replies that have arrived, without waiting."""
        try:
            while message := self._socket.recv(LONGEST, socket.MSG_DONTWAIT):
                self._settle(Reply.unpack(message))
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """End the connection; unanswered requests end with an error. Idempotent."""
        self.is_broken = True
        lost, self._under_way = self._under_way, {}
        self._free.clear()
        self._finalizer()
        for exchange in lost.values():
            exchange.settle(error=_ended())

    def _take(self, size: int) -> Segment:
        for position in range(len(self._free) - 1, -1, -1):  # last ones are likely cached
            if self._free[position].size >= size:
                return self._free.pop(position)
        # If the free segments are too small, a larger one takes over the index of one of them.
        index = self._free.pop().index if self._free else next(self._indices)
        return Segment(index, size)

    def _settle(self, reply: Reply) -> None:
        exchange = self._under_way.pop(reply.number)
        segment = exchange.segment
        assert segment is not None
        if reply.error is None:
            scores = segment.views(exchange.shape, exchange.columns).scores.copy()
            exchange.settle(Answer(scores, reply.waiting))
        else:
            exchange.settle(error=reply.error)
        self._free.append(segment)  # only now, since ``lost`` may send this memory again


def _ended() -> SharedMemoryError:
    return SharedMemoryError(
        "shared memory: the actor's process ended. Send the request again through Ray."
    )
