"""A request, as the client sends it and as the actor takes it: frames, goals and their scorer."""

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
    """Frames and, for each of them, the goal that it is scored against.

    The same class on both sides of the wire. It is checked once, by the client, before it is
    sent; the actor trusts it.

    Attributes:
        frames: uint8 ``[B, H, W, 3]``, or B of ``[H, W, 3]``. Whoever sends them first replaces
            them by the copy that it made, since an env may draw its next frame into the same
            memory. In the actor always one array, which may be read-only.
        goals: int64 ``[B]``, indices into the scorer's goals.
        fingerprint: that of the scorer, SHA-256 in hex.
        run: a number of 64 bits for the run that asks; runs take turns at an actor.
    """

    frames: Frames | Sequence[Frames]
    goals: Goals
    fingerprint: str
    run: int = 0

    def __len__(self) -> int:
        return len(self.goals)

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, H and W."""
        if not len(self.frames):
            return 0, 1, 1
        height, width = self.frames[0].shape[:2]
        return len(self.frames), height, width

    def check(self) -> None:
        """Raise unless there is one goal for each frame.

        Requests are joined, so one goal too many would shift the goals of another client's frames.

        Raises:
            FrameError: the frames are not such a batch.
            GoalError: the goals have another type, rank or number.

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
    """What an actor answers.

    Attributes:
        scores: float32 ``[B]``.
        waiting: how many frames queue at the actor.
    """

    scores: Scores
    waiting: int
