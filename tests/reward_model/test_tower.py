"""The sizes of the batches that are computed."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.tower import computed_size


@given(st.integers(1, 5000))
def test_a_size_is_filled_up_by_an_eighth_at_most(frames):
    size = computed_size(frames)
    assert frames <= size < frames * 9 / 8 + 1
    assert computed_size(size) == size
    assert size == frames or frames > 16


def test_they_are_few():
    assert len({computed_size(frames) for frames in range(1, 513)}) == 16 + 8 * 5
    assert all(computed_size(frames) == frames for frames in range(16, 257, 16))


def test_a_filled_batch_gives_each_frame_its_own_embedding(tiny_clip):
    encoder = CLIPEncoder.load(tiny_clip, precision="fp32")
    computed = []
    encoder.model.visual.register_forward_pre_hook(lambda _, pixels: computed.append(pixels[0]))
    frames = np.random.default_rng(0).integers(0, 256, (33, 20, 30, 3), np.uint8)
    found = encoder.encode_frames(frames)
    assert found.shape[0] == 33
    (pixels,) = computed
    assert len(pixels) == 36
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    alone = torch.cat([encoder.encode_frames(frame[None]) for frame in frames])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


def test_nothing_is_copied_where_nothing_is_missing(tiny_clip):
    tower = CLIPEncoder.load(tiny_clip, precision="fp32").tower
    full, short = torch.zeros(16, 3, 8, 8), torch.zeros(17, 3, 8, 8)
    assert tower._filled(full) is full
    assert len(tower._filled(short)) == 18
    tower._device = torch.device("cuda")  # where a size compiles nothing
    assert tower._filled(short) is short
