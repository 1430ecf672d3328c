"""The protocol of a shared-memory connection: the memory of a request, and the messages."""

import mmap
import os
import pickle
import socket
import struct
import sys
from typing import NamedTuple

import numpy as np

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.request import Goals, Scores

__all__ = [
    "ASK_SIZE",
    "LONGEST",
    "SHAREABLE",
    "Ask",
    "Reply",
    "Segment",
    "SharedMemoryError",
    "Views",
    "check_user",
    "view",
]

# A memfd has no name, so it is freed even if its processes are killed. Only Linux has it.
SHAREABLE = sys.platform == "linux"
LONGEST = 65536  # bytes of a message; a Unix datagram holds 200 KB by Linux's default
_ALIGNMENT = 64
_GOAL, _SCORE = np.dtype(np.int64).itemsize, np.dtype(np.float32).itemsize
_ASK, _REPLY = struct.Struct("<QQIIII32s"), struct.Struct("<QQ")
ASK_SIZE = _ASK.size
_LONGEST_TEXT = 4096
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


class SharedMemoryError(ConnectionError):
    """The actor's process ended, or it lacks the scorer. Send the request through Ray instead."""


class Views(NamedTuple):
    """The parts of a request as arrays in the shared memory.

    Attributes:
        frames: uint8 ``[B, H, W, 3]``.
        goals: int64 ``[B]``.
        scores: float32 ``[B]``, or ``[B, C]`` if C > 1, written by the actor.
    """

    frames: Frames
    goals: Goals
    scores: Scores


class Segment:
    """A client's shared memory for one request at a time.

    Attributes:
        index: identifies the segment in the messages of its connection.
        size: size in bytes.

    Example:
        >>> segment = Segment(0, Segment.size_of((2, 8, 8)))
        >>> segment.views((2, 8, 8)).frames.shape
        (2, 8, 8, 3)
    """

    def __init__(self, index: int, size: int) -> None:
        self.index, self.size = index, size
        self._memory_fd: int | None = os.memfd_create("rllib_vlm_reward")
        os.ftruncate(self._memory_fd, size)
        self._memory = mmap.mmap(self._memory_fd, size)
        self._shape: tuple[int, int, int, int] | None = None
        self._views: Views

    @staticmethod
    def size_of(shape: tuple[int, int, int], columns: int = 1) -> int:
        """Return the bytes that a request with frames of shape (B, H, W) needs."""
        return max(_goals_at(shape) + shape[0] * (_GOAL + columns * _SCORE), mmap.PAGESIZE)

    def views(self, shape: tuple[int, int, int], columns: int = 1) -> Views:
        """Return the parts of a request with frames of shape (B, H, W), and C columns."""
        if (*shape, columns) != self._shape:  # it rarely changes
            self._shape, self._views = (*shape, columns), view(self._memory, shape, columns)
        return self._views

    def send(self, connection: socket.socket, message: bytes) -> None:
        """Send a message that refers to the segment. The first message also sends the memory.

        Raises:
            OSError: the other process has closed the connection.
        """
        if self._memory_fd is None:
            connection.send(message)
            return
        try:
            socket.send_fds(connection, [message], [self._memory_fd])
        finally:
            os.close(self._memory_fd)  # the mapping keeps the memory
            self._memory_fd = None


def view(memory: mmap.mmap, shape: tuple[int, int, int], columns: int = 1) -> Views:
    """Return the parts of a request with frames of shape (B, H, W) in a segment's memory.

    Args:
        memory: the memory.
        shape: B, H and W.
        columns: C, how many numbers answer a frame. It moves neither frames nor goals.

    Raises:
        ValueError: the memory is too small for the request.
    """
    batch, height, width = shape
    goals_at = _goals_at(shape)
    frames = np.frombuffer(memory, np.uint8, batch * height * width * 3)
    goals = np.frombuffer(memory, np.int64, batch, goals_at)
    scores = np.frombuffer(memory, np.float32, batch * columns, goals_at + goals.nbytes)
    if columns > 1:
        scores = scores.reshape(batch, columns)
    return Views(frames.reshape(batch, height, width, 3), goals, scores)


def _goals_at(shape: tuple[int, int, int]) -> int:
    batch, height, width = shape
    return -(-batch * height * width * 3 // _ALIGNMENT) * _ALIGNMENT


class Ask(NamedTuple):
    """A message that asks the actor to score a request.

    Attributes:
        number: number of the request on its connection.
        segment: index of the request's segment. The first message with an index also carries the
            segment's memory.
        shape: B, H and W of the frames.
        fingerprint: fingerprint of the scorer, SHA-256 as a hexadecimal text.
        run: see :class:`~rllib_vlm_reward.serving.request.Request`.

    Example:
        >>> ask = Ask(7, 0, (16, 56, 56), "ab" * 32, run=1)
        >>> Ask.unpack(ask.pack()) == ask
        True
    """

    number: int
    segment: int
    shape: tuple[int, int, int]
    fingerprint: str
    run: int

    def pack(self) -> bytes:
        """Return the message as bytes."""
        fingerprint = bytes.fromhex(self.fingerprint)
        return _ASK.pack(self.run, self.number, self.segment, *self.shape, fingerprint)

    @classmethod
    def unpack(cls, message: bytes) -> "Ask":
        """Read the bytes of :meth:`pack`."""
        run, number, segment, batch, height, width, fingerprint = _ASK.unpack(message)
        return cls(number, segment, (batch, height, width), fingerprint.hex(), run)


class Reply(NamedTuple):
    """A message that a request has been scored, or has failed. Scores are in the segment.

    Attributes:
        number: number of the request.
        waiting: how many frames wait in the actor's queue.
        error: the error that scoring raised, or None.

    Example:
        >>> Reply.unpack(Reply(7, 128, ValueError("no")).pack())
        Reply(number=7, waiting=128, error=ValueError('no'))
    """

    number: int
    waiting: int
    error: Exception | None = None

    def pack(self) -> bytes:
        """Return the message as bytes. An error that cannot be pickled is sent as its text."""
        header = _REPLY.pack(self.number, self.waiting)
        return header if self.error is None else header + _pickled(self.error)

    @classmethod
    def unpack(cls, message: bytes) -> "Reply":
        """Read the bytes of :meth:`pack`. They may hold a pickle, so they must be trusted."""
        number, waiting = _REPLY.unpack_from(message)
        rest = message[_REPLY.size :]
        return cls(number, waiting, pickle.loads(rest) if rest else None)


def _pickled(error: Exception) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:
        pickled = b""
    if pickled and len(pickled) + _REPLY.size <= LONGEST:
        return pickled
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]))


def check_user(connection: socket.socket) -> None:
    """Check that the process at the other end of a Unix socket belongs to the same user.

    All users of the machine can read the socket's address.

    Raises:
        PermissionError: the process belongs to another user.

    Example:
        >>> ours, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        >>> check_user(ours)
    """
    size = _CREDENTIALS.size
    _, uid, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    if uid != os.geteuid():
        raise PermissionError(
            f"shared memory: got a process of user {uid}, expected user {os.geteuid()}. Start the "
            "reward pool and its clients as the same user."
        )
