import contextlib
import os
import signal

import numpy as np
import pytest
import rays

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.serving import RewardPool


@pytest.fixture(scope="session")
def own_cluster():
    """This folder's Ray, as large on paper as the tests need; it ends before the session's starts.

    Yields its address.
    """
    yield rays.hold(rays.started(num_cpus=4, num_gpus=1))
    rays.release()


@pytest.fixture(scope="session")
def cluster(own_cluster):
    return own_cluster


@pytest.fixture(scope="session")
def config(tiny_clip):
    return VLMRewardConfig(
        encoder=tiny_clip,
        goals=["a {red|blue} {ball|key}"],
        serving={
            "num_actors": 2,
            "num_cpus_per_actor": 1,
            "num_gpus_per_actor": 0,
            "max_batch_size": 8,
            "precision": "fp32",
        },
    )


@pytest.fixture
def requests():
    """Returns a function: the frames [B, 56, 56, 3] and the goals [B] of any number of requests."""
    rng = np.random.default_rng(0)

    def draw(count, size=3):
        return [
            (
                rng.integers(0, 256, (size, 56, 56, 3), dtype=np.uint8),
                rng.integers(0, 4, size),
            )
            for _ in range(count)
        ]

    return draw


@pytest.fixture(scope="module")
def pool(cluster, config):
    pool = RewardPool.start(config, name="pool")
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def scorer(config):
    return config.scorer


@pytest.fixture(scope="module")
def model(tiny_clip):
    return RewardModel(CLIPEncoder.load(tiny_clip, precision="fp32"))


@pytest.fixture
def client(pool, config):
    """Returns a function that connects one more client, with options of its own."""
    return lambda **options: RewardPool.connect("pool", config.model_copy(update=options))


@pytest.fixture
def stopped(pool):
    """A context in which the processes of these actors stand still."""

    @contextlib.contextmanager
    def stop(*indices):
        pids = [pool.describe()[index]["pid"] for index in indices]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pids
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    return stop
