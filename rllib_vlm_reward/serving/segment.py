"""Memory that a client shares with an actor of its node: one request's frames, goals and scores."""

import mmap
import os
import socket
import sys
from typing import NamedTuple

import numpy as np

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.request import Goals, Scores

__all__ = ["SHAREABLE", "Segment", "Views", "view"]

# A memfd has no name, so nothing is left behind however its processes end; only Linux has it.
SHAREABLE = sys.platform == "linux"
_ALIGNMENT = 64
_GOAL, _SCORE = np.dtype(np.int64).itemsize, np.dtype(np.float32).itemsize


class Views(NamedTuple):
    """A request where it lies.

    Attributes:
        frames: uint8 ``[B, H, W, 3]``.
        goals: int64 ``[B]``.
        scores: float32 ``[B]``, written by the actor.
    """

    frames: Frames
    goals: Goals
    scores: Scores


class Segment:
    """A client's memory for one request at a time, of at least ``size`` bytes.

    Example:
        >>> segment = Segment(Segment.size_of((2, 8, 8)))
        >>> segment.views((2, 8, 8)).frames.shape
        (2, 8, 8, 3)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory_fd = os.memfd_create("rllib_vlm_reward")
        os.ftruncate(self._memory_fd, size)
        self._memory = mmap.mmap(self._memory_fd, size)

    @staticmethod
    def size_of(shape: tuple[int, int, int]) -> int:
        """Return the bytes that a request of B frames ``[H, W, 3]`` takes; shape is (B, H, W)."""
        return max(_goals_at(shape) + shape[0] * (_GOAL + _SCORE), mmap.PAGESIZE)

    def views(self, shape: tuple[int, int, int]) -> Views:
        """Return where the parts of a request of this (B, H, W) lie."""
        return view(self._memory, shape)

    def pass_on(self, connection: socket.socket, message: bytes) -> None:
        """Send the memory with a message, once.

        Raises:
            OSError: nobody listens any more.
        """
        try:
            socket.send_fds(connection, [message], [self._memory_fd])
        finally:
            os.close(self._memory_fd)  # the mapping keeps the memory


def view(memory: mmap.mmap, shape: tuple[int, int, int]) -> Views:
    """Return where the parts of a request of this (B, H, W) lie in a segment's memory.

    Raises:
        ValueError: the memory is smaller than such a request.
    """
    batch, height, width = shape
    goals_at = _goals_at(shape)
    frames = np.frombuffer(memory, np.uint8, batch * height * width * 3)
    goals = np.frombuffer(memory, np.int64, batch, goals_at)
    scores = np.frombuffer(memory, np.float32, batch, goals_at + goals.nbytes)
    return Views(frames.reshape(batch, height, width, 3), goals, scores)


def _goals_at(shape: tuple[int, int, int]) -> int:
    batch, height, width = shape
    return -(-batch * height * width * 3 // _ALIGNMENT) * _ALIGNMENT
