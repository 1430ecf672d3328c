"""What a reward actor does before it scores, in this process."""

import numpy as np
import pytest
import ray

from rllib_vlm_reward.config import ServingConfig
from rllib_vlm_reward.reward_model.tower import ImageTower
from rllib_vlm_reward.serving.actor import RewardActor


@pytest.mark.parametrize(("given", "sizes"), [(None, [2**i for i in range(4, 11)]), (24, [24])])
def test_it_measures_the_batch_size_unless_it_is_given(given, sizes, cluster, tiny_clip):
    actor = RewardActor(tiny_clip, ServingConfig(max_batch_size=given), num_cpus=1)
    assert actor.describe()["batch_size"] in sizes
    assert np.allclose(np.linalg.norm(actor.embed_texts(["a ball"]), axis=1), 1.0)


def test_it_measures_its_precision_in_batches_of_its_size(cluster, scorer, monkeypatch):
    embed, sizes = ImageTower.__call__, []

    def counted(tower, frames):
        sizes.append(len(frames))
        return embed(tower, frames)

    actor = RewardActor("lowered.Lowered", ServingConfig(max_batch_size=8), num_cpus=1)
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8)
    shared = ray.put((scorer, actor.embed_texts(scorer.goals.statements)))
    model = actor._loaded_model()
    monkeypatch.setattr(ImageTower, "__call__", counted)
    found = actor.drift(frames, [shared])
    assert sizes == [8, 8, 4] * 2  # in both precisions
    assert 0 < found == pytest.approx(model.drift(frames, scorer), rel=0.02)
    exact = RewardActor("small", ServingConfig(precision="fp32", max_batch_size=8), num_cpus=1)
    assert exact.drift(frames, [shared]) is None
