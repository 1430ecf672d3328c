import os
from pathlib import Path

import painted
import pytest
import ray
from red_pool import RedPool

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import reward
from rllib_vlm_reward.serving.pool import RewardPool

FOLDERS = [Path(__file__).parent, Path(painted.__file__).parent]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this module's own, whose workers find the tests' envs."""
    with pytest.MonkeyPatch.context() as patch:
        path = [*map(str, FOLDERS), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
        ray.init(
            address="local",
            num_cpus=8,
            include_dashboard=False,
            object_store_memory=200_000_000,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def vlm_config(tiny_clip):
    """Returns a function: the painted world's reward, with changes."""

    def make(**changes):
        given = {
            "encoder": tiny_clip,
            "goals": painted.GOALS,
            "temperature": 0.3,
            "num_cpus_per_actor": 1,
        }
        return VLMRewardConfig(**{**given, **changes})

    return make


@pytest.fixture(scope="module")
def shared_pool(cluster, vlm_config):
    """A pool that outlives the algorithms which share it; its name."""
    pool = RewardPool.start(vlm_config(), name="shared")
    yield pool.name
    pool.close()


@pytest.fixture
def red_pool(monkeypatch):
    """A pool that every piece of this process finds under any name."""
    pool = RedPool()
    monkeypatch.setattr(reward.RewardPool, "connect", lambda name, config: pool)
    return pool
