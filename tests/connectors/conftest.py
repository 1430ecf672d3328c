import os
from pathlib import Path

import painted
import pytest
import ray
import recount
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from red_pool import RedPool

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import goal_embedding, reward
from rllib_vlm_reward.connectors.preflight import attach_pieces
from rllib_vlm_reward.plugin import add_vlm_reward
from rllib_vlm_reward.serving.pool import RewardPool


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this module's own, whose workers find the tests' envs."""
    with pytest.MonkeyPatch.context() as patch:
        path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
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
def shared_pool(cluster, tiny_clip):
    """A pool that outlives the algorithms which share it; its name."""
    config = VLMRewardConfig(encoder=tiny_clip, goals=painted.GOALS, num_cpus_per_actor=1)
    pool = RewardPool.start(config, name="shared")
    yield pool.name
    pool.close()


@pytest.fixture
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


@pytest.fixture
def ppo():
    """Returns a function: a small PPO on the painted world, seen by a witness."""
    recount.Witness.chunks.clear()

    def make(env=painted.PaintedEnv, num_env_runners=0, batch=200, **env_runners):
        given = {
            "num_env_runners": num_env_runners,
            "num_envs_per_env_runner": 3,
            "rollout_fragment_length": 17,
        }
        return (
            PPOConfig()
            .environment(env)
            .env_runners(**{**given, **env_runners})
            .training(
                train_batch_size_per_learner=batch,
                minibatch_size=batch,
                num_epochs=1,
            )
            .learners(learner_connector=recount.witness)
            .rl_module(model_config={"fcnet_hiddens": [8]})
        )

    return make


@pytest.fixture
def red_pool(monkeypatch):
    """A pool that every piece of this process finds under any name."""
    pool = RedPool()
    for room in (reward, goal_embedding):
        monkeypatch.setattr(room.RewardPool, "connect", lambda name, config: pool)
    return pool


@pytest.fixture
def env_runner(ppo, red_pool):
    """Returns a function: an env runner of this process, rewarded by the red pool."""

    def make(vlm, env=painted.PaintedEnv, **env_runners):
        config = add_vlm_reward(ppo(env, **env_runners), vlm)
        runner = SingleAgentEnvRunner(config=config)
        attach_pieces(runner, "red", "this run")
        return runner

    return make
