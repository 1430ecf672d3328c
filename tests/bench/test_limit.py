"""The limit is found among the ways that were asked for."""

import threading

import numpy as np
import pytest
import torch

from rllib_vlm_reward.bench.limit import BareModel, frames_per_second
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.reward_model.encoder import Encoder


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_lane_encodes(lanes):
    threads, sizes = set(), []

    def encode(batch):
        threads.add(threading.get_ident())
        sizes.append(len(batch))

    assert frames_per_second(encode, np.zeros((4, 2, 2, 3)), lanes, 1, seconds=0.001) > 0
    assert len(threads) == lanes
    assert set(sizes) == {4}
    assert len(sizes) >= 2 * lanes  # one to warm up, and one that counts


def test_the_best_way_is_the_fastest_of_those_tried(tiny_clip):
    config = VLMRewardConfig(
        encoder=tiny_clip, goals=["a ball"], head="cosine", serving={"precision": "fp32"}
    )
    bare = BareModel(config, (40, 60), device="cpu")
    limit = bare.search(0.01, sizes=(2, 4))
    assert limit.best in limit.ways
    assert limit.frames_per_second == max(way.frames_per_second for way in limit.ways)
    assert {way.batch_size for way in limit.ways} <= {2, 4}
    assert limit.precision == "fp32"
    assert 0 <= limit.preprocess_share < 1
    again = bare.again(limit, 0.01)
    shape = [(way.lanes, way.threads, way.batch_size) for way in limit.ways]
    assert [(way.lanes, way.threads, way.batch_size) for way in again.ways] == shape


class Ones(Encoder):
    """The same embedding for every frame and text."""

    embed_dim, fingerprint = 2, "ones"

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def encode_frames(self, frames):
        return torch.full((len(frames), 2), 0.5**0.5)

    encode_texts = encode_frames


def test_an_encoder_of_ones_own_has_no_share_of_preprocessing():
    config = VLMRewardConfig(encoder=f"{__name__}.Ones", goals=["a ball"], head="cosine")
    limit = BareModel(config, (40, 60), device="cpu").search(0.01, sizes=(2,))
    assert limit.frames_per_second == limit.forward_per_second > 0
    assert limit.preprocess_share == 0
