import numpy as np
import pytest

from rllib_vlm_reward.errors import FrameError, GoalError
from rllib_vlm_reward.serving.request import Request

FRAMES = np.zeros((2, 4, 4, 3), np.uint8)
GOALS = np.zeros(2, np.int64)


@pytest.mark.parametrize("size", [0, 2])
def test_one_goal_a_frame_passes(size):
    Request(FRAMES[:size], GOALS[:size], "ab" * 32).check()


@pytest.mark.parametrize(
    ("frames", "goals", "error"),
    [
        (FRAMES, GOALS[:1], GoalError),
        (FRAMES, GOALS[:, None], GoalError),
        (FRAMES, GOALS.astype(np.int32), GoalError),
        (FRAMES, [0, 0], GoalError),
        (FRAMES.astype(np.float32), GOALS, FrameError),
        (FRAMES[..., :1], GOALS, FrameError),
        (FRAMES[0], GOALS, FrameError),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(frames, goals, error):
    with pytest.raises(error, match="expected"):
        Request(frames, goals, "ab" * 32).check()
