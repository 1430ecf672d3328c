"""A client's end of its connection to an actor of its node."""

import contextlib
import itertools
import socket
import threading
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from rllib_vlm_reward.serving.message import LONGEST, Ask, Reply
from rllib_vlm_reward.serving.request import Answer, Request
from rllib_vlm_reward.serving.segment import Segment
from rllib_vlm_reward.serving.user import check_user

__all__ = ["Link", "LinkError"]


class LinkError(ConnectionError):
    """The actor's process ended, or does not know the scorer; the request can go through Ray."""


class _UnderWay(NamedTuple):
    future: Future[Answer]
    place: int
    segment: Segment
    shape: tuple[int, int, int]


class Link:
    """Sends requests to an actor of the same node; frames are copied once, into shared memory.

    docs/decisions/003-links.md says what a Ray call costs, benchmarks/served.py what this gains.

    Args:
        address: of the actor's :class:`~rllib_vlm_reward.serving.listener.Listener`.

    Raises:
        OSError: nobody listens there, or another user.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(address)
            check_user(self._socket)
        except OSError:
            self._socket.close()
            raise
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._under_way: dict[int, _UnderWay] = {}
        self._free: dict[int, Segment] = {}
        self._segments = itertools.count()
        self.is_broken = False
        self._reader = threading.Thread(target=self._read, name="link", daemon=True)
        self._reader.start()

    def send(self, request: Request) -> Future[Answer]:
        """Send one request.

        Returns:
            the future of the answer, of an error raised in the actor, or of a LinkError.
        """
        frames = request.frames
        height, width = frames[0].shape[:2] if len(frames) else (1, 1)
        shape = (len(frames), height, width)
        future: Future[Answer] = Future()
        with self._lock:
            if self.is_broken:
                future.set_exception(_ended())
                return future
            index, segment, is_new = self._take(Segment.size_of(shape))
            number = next(self._numbers)
            self._under_way[number] = _UnderWay(future, index, segment, shape)
        place = segment.views(shape)
        for row, frame in enumerate(frames):
            place.frames[row] = frame
        place.goals[:] = request.goals
        request.frames = place.frames
        message = Ask(number, index, shape, request.fingerprint, request.run).pack()
        try:
            if is_new:
                segment.pass_on(self._socket, message)
            else:
                self._socket.send(message)
        except OSError:
            self._break()
        return future

    def close(self) -> None:
        """Give up what is under way. Idempotent."""
        self._break()

    def _take(self, size: int) -> tuple[int, Segment, bool]:
        for index, segment in self._free.items():
            if segment.size >= size:
                return index, self._free.pop(index), False
        # Of another frame size: its place is taken by the one that fits.
        index = self._free.popitem()[0] if self._free else next(self._segments)
        return index, Segment(size), True

    def _read(self) -> None:
        try:
            while message := self._socket.recv(LONGEST):
                self._settle(Reply.unpack(message))
        except OSError:
            pass
        finally:
            self._break()

    def _settle(self, reply: Reply) -> None:
        with self._lock:
            asked = self._under_way.pop(reply.number, None)
        if asked is None:  # given up meanwhile
            return
        if reply.error is None:
            scores = np.array(asked.segment.views(asked.shape).scores)
            asked.future.set_result(Answer(scores, reply.waiting))
        else:
            asked.future.set_exception(reply.error)
        with self._lock:  # not before: who waits for the future may send the frames again
            if not self.is_broken:
                self._free[asked.place] = asked.segment

    def _break(self) -> None:
        with self._lock:
            self.is_broken = True
            lost, self._under_way = list(self._under_way.values()), {}
            self._free.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # so that the reader's recv returns
        self._socket.close()
        for asked in lost:
            asked.future.set_exception(_ended())


def _ended() -> LinkError:
    return LinkError("link: the actor's process ended; send the request again, through Ray.")
