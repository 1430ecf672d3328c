"""What a reward actor does before it scores, in this process."""

import os

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


def test_a_relative_path_is_one_of_the_drivers(cluster, tiny_clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # as of a worker whose Ray was started elsewhere
    folder, name = os.path.split(tiny_clip)
    serving = ServingConfig(max_batch_size=8, precision="fp32")
    made = [RewardActor(tiny_clip, serving, num_cpus=1).describe()["encoder_fingerprint"]]
    for relative in (name, f"{name}/random"):
        actor = RewardActor(relative, serving, num_cpus=1, folder=folder)
        assert actor.describe()["encoder"] == relative
        made.append(actor.describe()["encoder_fingerprint"])
    assert made[0] == made[1] != made[2]


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
