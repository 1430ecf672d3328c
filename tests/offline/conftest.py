import dataclasses
import importlib
import json

import pytest
import recording
import scenes

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.offline.relabeller import Relabeller
from rllib_vlm_reward.serving.pool import RewardPool


@pytest.fixture(scope="session")
def vlm_config(tiny_clip):
    """Returns a function: the scenes' reward, with changes."""

    def make(**changes):
        given = {
            "encoder": tiny_clip,
            "goals": scenes.GOALS,
            "mode": "synchronous",
            "head": {"kind": "softmax", "temperature": 0.3},
            "frames": {"source": "obs"},
            "serving": {"num_cpus_per_actor": 1, "precision": "fp32", "max_batch_size": 32},
        }
        return VLMRewardConfig(**given).model_copy(update=changes)

    return make


@pytest.fixture(scope="module")
def local_pool(tiny_clip):
    """Scores online in this process."""
    pool = recording.LocalPool(tiny_clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RewardPool, "connect", lambda name, config, run="": pool)
        yield pool


@pytest.fixture(scope="module")
def rewarded(cluster, local_pool, vlm_config, tmp_path_factory):
    """Folder of 24 episodes that CLIP rewarded online."""
    folder = tmp_path_factory.mktemp("rewarded") / "recorded"
    recording.record(folder, vlm_config())
    return folder


@pytest.fixture(scope="module")
def unrewarded(cluster, tmp_path_factory):
    """Folder of 24 episodes with the env's own rewards."""
    folder = tmp_path_factory.mktemp("unrewarded") / "recorded"
    recording.record(folder)
    return folder


@pytest.fixture
def in_this_process(monkeypatch):
    """Work off the units here: to start Ray Data's actors takes seconds."""

    def run(config, bundles, given):
        relabeller = Relabeller(config, **given, num_cpus=1)
        for each in bundles:
            yield relabeller({"units": json.dumps([dataclasses.asdict(unit) for unit in each])})

    monkeypatch.setattr(importlib.import_module("rllib_vlm_reward.offline.relabel"), "_run", run)
