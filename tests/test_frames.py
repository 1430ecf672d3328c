import numpy as np
import pytest
import torch
from PIL import Image

from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.frames import check_each, check_frames

FRAME = np.zeros((4, 6, 3), np.uint8)


def test_frames_are_neither_copied_nor_changed():
    frames = [np.full((4, 6, 3), value, np.uint8) for value in range(5)]
    assert check_each(frames) is frames
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
    batch = np.stack(frames)
    assert check_frames(batch) is batch


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frame"),
        ([None], "NoneType.*render_mode"),
        ([FRAME, FRAME[:2]], "mixed sizes.*Resize"),
        ([FRAME.astype(np.float32)], "float32.*astype"),
        ([np.zeros(8, np.float32)], "no picture. Choose another source"),
        ([FRAME[..., 0]], "grey frames"),
        ([FRAME[..., :1]], "grey frames"),
        ([np.zeros((4, 6, 4), np.uint8)], "RGBA"),
        ([FRAME.transpose(2, 0, 1)], "CHW"),
        ([FRAME[:0]], "H, W > 0"),
    ],
)
def test_bad_frames_are_refused_with_the_remedy(frames, message):
    with pytest.raises(FrameError, match=message):
        check_each(frames, source="render")


def test_a_list_is_not_a_batch():
    with pytest.raises(FrameError, match="Stack the frames"):
        check_frames([FRAME])


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (np.zeros((8, 8, 3), np.uint8), r"frames\[None\]"),
        (torch.zeros((1, 8, 8, 3), dtype=torch.uint8), r"frames\.cpu\(\)\.numpy\(\)"),
        (Image.new("RGB", (8, 8)), r"np\.asarray\(image"),
        ([np.zeros((8, 8, 3), np.uint8)], r"np\.stack"),
        (None, "rgb_array"),
    ],
)
def test_the_error_says_how_what_was_given_becomes_frames(given, remedy):
    with pytest.raises(FrameError, match=remedy):
        check_frames(given)


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (torch.zeros((8, 8, 3), dtype=torch.uint8), r"cpu\(\)"),
        (Image.new("RGB", (8, 8)), r"np\.asarray"),
        (None, "rgb_array"),
    ],
)
def test_each_frame_that_is_no_array_is_named_with_its_remedy(given, remedy):
    with pytest.raises(FrameError, match=remedy):
        check_each([given])
