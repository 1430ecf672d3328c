import painted
import pytest
import recount
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_vlm_reward.connectors.pipeline import attach_pieces
from rllib_vlm_reward.plugin import add_vlm_reward


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
def env_runner(ppo, red_pool):
    """Returns a function: an env runner of this process, rewarded by the red pool."""

    def make(vlm, env=painted.PaintedEnv, **env_runners):
        config = add_vlm_reward(ppo(env, **env_runners), vlm)
        runner = SingleAgentEnvRunner(config=config)
        attach_pieces(runner, "red", "this run")
        return runner

    return make
