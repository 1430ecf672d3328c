"""Actors that cannot serve: the caller of start() is told why, and none stays behind."""

import copy
import json
import time

import open_clip
import pytest
import ray
import torch

from rllib_vlm_reward.errors import CheckpointError, PoolError
from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.serving import RewardPool, deployment


def test_a_load_error_reaches_the_caller_as_itself_and_leaves_no_actor(cluster, config):
    bad = config.model_copy(update={"encoder": "no-such-clip", "serving": {"num_actors": 1}})
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match="no-such-clip") as caught:
        RewardPool.start(bad, name="bad")
    assert time.monotonic() - begin < 20  # when the actor knows it; to load, it may take 30 minutes
    assert type(caught.value) is CheckpointError
    with pytest.raises(PoolError, match="expected 1 actors"):
        RewardPool.connect("bad", bad)


def test_an_architecture_that_only_this_process_knows_is_an_error_with_the_way_out(
    cluster, config, tmp_path, monkeypatch
):
    """`open_clip.add_model_config` changes the tables of the process that calls it."""
    for table in ("_MODEL_CONFIG_PATHS", "_MODEL_CONFIGS"):
        monkeypatch.setattr(open_clip.factory, table, copy.copy(getattr(open_clip.factory, table)))
    file = tmp_path / "My-Own-CLIP.json"
    file.write_text(json.dumps(open_clip.get_model_config("RN50")))
    open_clip.add_model_config(file)
    own = config.model_copy(update={"encoder": "My-Own-CLIP/random", "serving": {"num_actors": 1}})
    check_encoder(own.encoder)
    with pytest.raises(CheckpointError, match=r"My-Own-CLIP.*add_model_config.*give a folder with"):
        RewardPool.start(own, name="own")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU")
def test_a_gpu_that_torch_cannot_use_is_an_error(cluster, config):
    greedy = config.model_copy(update={"serving": {"num_gpus_per_actor": None, "num_actors": 1}})
    with pytest.raises(PoolError, match=r"finds none.*num_gpus_per_actor: 0"):
        RewardPool.start(greedy, name="greedy")


def test_a_pool_that_finds_no_free_room_says_so(cluster, config, monkeypatch, caplog):
    monkeypatch.setattr(deployment, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(deployment, "_PLACE_TIMEOUT_S", 1.0)

    @ray.remote(num_cpus=3)
    class Tenant:
        def ping(self):
            pass

    tenant = Tenant.remote()
    ray.get(tenant.ping.remote())
    wide = config.model_copy(update={"serving": {"num_cpus_per_actor": 2.0, "num_actors": 1}})
    with pytest.raises(PoolError, match=r"did not start within 1 s. Free on the cluster: 1 CPUs"):
        RewardPool.start(wide, name="wide")
    assert "asked for 1 actors of 2 CPUs and 0 GPUs each" in caplog.text
    assert "After 0.1 s, 1 have not started, since they still import PyTorch" in caplog.text
    assert "Free on the cluster now: 1 CPUs" in caplog.text
    ray.kill(tenant)
