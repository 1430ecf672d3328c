"""What a client sends: frames and, for each, the goal it is scored against; and the answer."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import ray

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.frames import Frames, check_each, check_frames

__all__ = ["Answer", "Goals", "Request", "Scores", "check_request"]

Goals = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


class Answer(NamedTuple):
    """What an actor answers.

    Attributes:
        scores: float32 ``[B]``.
        waiting: frames that queue at the actor.
    """

    scores: Scores
    waiting: int


@dataclasses.dataclass
class Request:
    """What is asked of an actor, once or, where one is late, again.

    Attributes:
        frames: uint8 ``[B, H, W, 3]``, or B of ``[H, W, 3]``. Whoever sends them first puts the
            copy in their place that it made: an env may draw its next frame into the same memory.
        goals: int64 ``[B]``, indices into the scorer's goals.
        fingerprint: of the scorer.
        scorer: the scorer, and its texts' embeddings.
        run: whose request it is, 64 bits.
    """

    frames: Frames | Sequence[Frames]
    goals: Goals
    fingerprint: str
    scorer: ray.ObjectRef
    run: int


def check_request(frames: Frames | Sequence[Frames], goals: Goals) -> None:
    """Raise unless there is one goal a frame.

    Requests are joined, so a goal too many would shift the goals of somebody else's frames.

    Args:
        frames: uint8 ``[B, H, W, 3]``, or B of ``[H, W, 3]``.
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
    if isinstance(frames, list | tuple):
        check_each(frames)
    else:
        check_frames(frames)
    if (
        not isinstance(goals, np.ndarray)
        or goals.dtype != np.int64
        or goals.shape != (len(frames),)
    ):
        got = f"{goals.dtype} {list(goals.shape)}" if isinstance(goals, np.ndarray) else type(goals)
        raise GoalError(
            f"goals: got {got}, expected int64 [{len(frames)}]: the index of each frame's goal."
        )
