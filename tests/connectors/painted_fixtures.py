"""What the connectors' tests and the roads' ask for: the painted world's reward and pools."""

import painted
import pytest
from red_pool import RedPool

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import goal_embedding, reward
from rllib_vlm_reward.serving.pool import RewardPool


@pytest.fixture(scope="session")
def vlm_config(tiny_clip):
    """Returns a function: the painted world's reward, with changes."""

    def make(**changes):
        given = {
            "encoder": tiny_clip,
            "goals": painted.GOALS,
            "temperature": 0.3,
            "num_cpus_per_actor": 1,
            "precision": "fp32",  # whose scores hardly depend on the batch
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
    for room in (reward, goal_embedding):
        monkeypatch.setattr(room.RewardPool, "connect", lambda name, config, run="": pool)
    return pool
