import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.reward_model.frame_batches import as_frame_batches, join, select

CPU = torch.device("cpu")


def frames_of(batch, height=6, width=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, height, width, 3), np.uint8)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "view",
    [
        lambda frames: frames,
        lambda frames: frames[:0],
        lambda frames: frames[:, ::-1],
        lambda frames: frames[:, :, 1::2],
        lambda frames: np.asfortranarray(frames),
    ],
)
def test_joined_batches_are_their_concatenation(view):
    frames = frames_of(7)
    frames.flags.writeable = False
    before, batches = frames.copy(), [view(batch) for batch in np.split(frames, [3, 3, 4])]
    joined = join(batches, CPU)
    assert joined.dtype == torch.float32
    np.testing.assert_array_equal(joined, np.concatenate(batches))
    joined.zero_()
    np.testing.assert_array_equal(frames, before)


def test_an_accelerator_gets_bytes():
    assert join([frames_of(2)], torch.device("meta")).dtype == torch.uint8


def test_batches_are_not_copied():
    frames = frames_of(4)
    assert as_frame_batches(frames)[0] is frames
    batches = np.split(frames, [1, 3])
    assert all(
        kept is batch for kept, batch in zip(as_frame_batches(batches), batches, strict=True)
    )
    assert all(np.shares_memory(run, frames) for run in select(batches, [0, 2, 3]))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([], "got an empty list"),
        (None, "NoneType"),
        ([frames_of(1), frames_of(1, 8)], r"sizes \[\(6, 5, 3\), \(8, 5, 3\)\]"),
        ([frames_of(1)[0]], r"uint8 \[6, 5, 3\]"),
        ([frames_of(1), "frame"], "got str"),
    ],
)
def test_what_is_no_batch_is_refused(frames, said):
    with pytest.raises(FrameError, match=said):
        as_frame_batches(frames)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_selected_frames_are_those_at_the_positions(sizes, data):
    batches = [frames_of(size, seed=seed) for seed, size in enumerate(sizes)]
    together = np.concatenate(batches)
    chosen = data.draw(st.sets(st.integers(0, max(0, len(together) - 1))))
    positions = sorted(chosen) if len(together) else []
    runs = select(batches, positions)
    np.testing.assert_array_equal(np.concatenate([together[:0], *runs]), together[positions])
    ends = np.cumsum(sizes)
    breaks = sum(b != a + 1 or a + 1 in ends for a, b in itertools.pairwise(positions))
    assert len(runs) == (breaks + 1 if positions else 0)
