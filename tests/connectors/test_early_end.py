import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from painted import PaintedEnv
from ray import tune
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.plugin import add_vlm_reward


class LongEnv(PaintedEnv):
    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


def make_env():
    return ExternalReset(TimeLimit(LongEnv({}), 5))


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_only_the_flagged_env_resets_and_counts_anew(vectorise):
    env = vectorise([make_env] * 3)
    try:
        env.reset()
        for _ in range(3):
            env.step(np.zeros(3, int))
        env.set_attr("external_reset", [False, True, False])
        observations, rewards, terminated, truncated, _ = env.step(np.zeros(3, int))
        assert observations[:, 2].tolist() == [4, 0, 4]
        assert rewards.tolist() == [-100, 0, -100]
        assert not terminated.any()
        assert not truncated.any()
        observations, _, _, truncated, _ = env.step(np.zeros(3, int))
        assert observations[:, 2].tolist() == [5, 1, 5]
        assert truncated.tolist() == [True, False, True]  # the TimeLimit was reset with its env
    finally:
        env.close()


def test_a_reset_takes_the_flag_down():
    env = make_env()
    env.external_reset = True
    env.reset()
    assert not env.external_reset
    assert env.step(0)[0][2] == 1


def test_a_registered_env_can_be_made_in_the_forks_of_an_async_vector_env(
    cluster, vlm_config, ppo, red_pool
):
    """Asking Ray's registry for it there would hang."""
    tune.register_env("painted", PaintedEnv)
    vlm = vlm_config(mode="synchronous", threshold=0.5, early_end=True)
    config = add_vlm_reward(ppo("painted", gym_env_vectorize_mode="async"), vlm)
    runner = SingleAgentEnvRunner(config=config)
    attach_pieces(runner, "red", "this run", precisions={})
    assert runner.sample()
    runner.stop()
