import painted
import pytest
import recount
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.plugin import add_vlm_reward


@pytest.fixture
def ppo():
    """Returns a function: a small PPO on the painted world, seen by a witness."""
    recount.Witness.chunks.clear()
    return recount.ppo


@pytest.fixture
def env_runner(ppo, red_pool):
    """Returns a function: an env runner of this process, rewarded by the red pool."""

    def make(vlm, env=painted.PaintedEnv, **env_runners):
        config = add_vlm_reward(ppo(env, **env_runners), vlm)
        runner = SingleAgentEnvRunner(config=config)
        attach_pieces(runner, "red", "this run", precisions={})
        return runner

    return make
