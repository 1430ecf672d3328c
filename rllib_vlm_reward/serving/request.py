"""A request from a client to an actor (frames, goals and scorer), and its answer."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.frames import Frames, check_each, check_frames

__all__ = ["Answer", "Goals", "Request", "Scores"]

Goals = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


@dataclasses.dataclass(slots=True)
class Request:
    """Frames and, for each frame, the goal against which it is scored.

    Client and actor use the same class. The client checks a request once before it sends it; the
    actor does not check it again.

    Attributes:
        frames: uint8 ``[B, H, W, 3]``, or B arrays ``[H, W, 3]``. The first send replaces them by
            a copy, since an env may draw its next frame into the same memory. In the actor, they
            are always one array, which may be read-only.
        goals: int64 ``[B]``, indices into the scorer's goals.
        fingerprint: fingerprint of the scorer, SHA-256 as a hexadecimal text.
        run: a 64-bit number that identifies the run. Runs that share an actor take turns.
        columns: C, how many numbers answer a frame: :attr:`.Scorer.columns`.
    """

    frames: Frames | Sequence[Frames]
    goals: Goals
    fingerprint: str
    run: int = 0
    columns: int = 1

    def __len__(self) -> int:
        return len(self.goals)

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, H and W of the frames."""
        if not len(self.frames):
            return 0, 1, 1
        height, width = self.frames[0].shape[:2]
        return len(self.frames), height, width

    def check(self) -> None:
        """Check the types of frames and goals, and that there is one goal for each frame.

        The actor joins requests, so one goal too many would shift the goals of other clients.

        Raises:
            FrameError: the frames are not uint8 RGB frames of one size.
            GoalError: the goals are not an int64 array with one goal for each frame.

        Example:
            >>> Request(np.zeros((2, 8, 8, 3), np.uint8), np.array([0]), "ab" * 32).check()
            Traceback (most recent call last):
            ...
            rllib_vlm_reward.errors.GoalError: goals: got int64 [1], expected int64 [2]: \
the index of each frame's goal.
        """
        frames, goals = self.frames, self.goals
        if isinstance(frames, list | tuple):
            check_each(frames)
        else:
            check_frames(frames)
        is_array = isinstance(goals, np.ndarray)
        if not is_array or goals.dtype != np.int64 or goals.shape != (len(frames),):
            got = f"{goals.dtype} {list(goals.shape)}" if is_array else type(goals)
            raise GoalError(
                f"goals: got {got}, expected int64 [{len(frames)}]: the index of each frame's goal."
            )


class Answer(NamedTuple):
    """An actor's answer to a request.

    Attributes:
        scores: float32 ``[B]``, or ``[B, C]`` if the scorer has readouts.
        waiting: how many frames wait in the actor's queue.
    """

    scores: Scores
    waiting: int
