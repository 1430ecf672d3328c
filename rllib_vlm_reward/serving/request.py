"""What a client sends: a batch of frames and, for each, the goal it is scored against."""

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.frames import Frames, check_frames

__all__ = ["Goals", "Scores", "check_request"]

Goals = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


def check_request(frames: Frames, goals: Goals) -> None:
    """Raise unless there is one goal a frame.

    Requests are joined, so a goal too many would shift the goals of somebody else's frames.

    Args:
        frames: uint8 ``[B, H, W, 3]``.
        goals: int64 ``[B]``, indices into the scorer's goals.

    Raises:
        FrameError: frames that are not such a batch.
        GoalError: goals of another type, rank or number.

    Example:
        >>> check_request(np.zeros((2, 8, 8, 3), np.uint8), np.array([0]))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goals: got int64 [1], expected int64 [2]: \
the index of each frame's goal.
    """
    check_frames(frames)
    if (
        not isinstance(goals, np.ndarray)
        or goals.dtype != np.int64
        or goals.shape != frames.shape[:1]
    ):
        got = f"{goals.dtype} {list(goals.shape)}" if isinstance(goals, np.ndarray) else type(goals)
        raise GoalError(
            f"goals: got {got}, expected int64 [{len(frames)}]: the index of each frame's goal."
        )
