"""Creates the env of a run outside of training."""

from typing import Any

import gymnasium as gym
from ray.rllib.env.env_context import EnvContext

from rllib_vlm_reward.connectors.pipeline import registered_env
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run.experiment import Experiment

__all__ = ["make_env"]


def make_env(experiment: Experiment) -> gym.vector.SyncVectorEnv:
    """Create a run's env with the same wrappers as in training, in this process and without Ray.

    With a curriculum, the env draws the training goals uniformly. The run's policy is not read.

    Args:
        experiment: the settings of a run with a single-agent env: a gymnasium id, a name registered
            with Tune, a class, or the import path of a class or function.

    Returns:
        A vector env whose ``envs[0]`` is the env.

    Raises:
        ConfigError: the run has several agents.
        CheckpointError, ConfigError, FrameError, GoalError, RewardError: see
            :meth:`.Experiment.to_algorithm_config`.

    Example:
        >>> env = make_env(Experiment.from_yaml('''
        ... environment: {env: rllib_vlm_reward/Find-v0, env_config: {room_size: 5}}
        ... vlm_reward: {encoder: small, goals: ["go to the red {ball|box|key}"]}
        ... stop: {env_steps: 1}
        ... '''))
        >>> env.envs[0].reset(seed=0)[0].shape
        (56, 56, 3)
    """
    # No policy acts in this env, so the run does not need one, nor the goal as its input.
    not_needed = {"goal_embedding": False, "goal_map": False, "hindsight": None}
    reward = experiment.vlm_reward.model_copy(update=not_needed)
    experiment = experiment.model_copy(update={"policy": None, "vlm_reward": reward})
    config = experiment.to_algorithm_config()
    if config.is_multi_agent:
        raise ConfigError(
            f"multi_agent: got the policies {sorted(config.policies)}, expected a run with a "
            "single agent. To evaluate several agents, use `train`, which does it at the end of a "
            "run."
        )
    create = registered_env(config.env)
    if create is None and isinstance(config.env, str):
        made: Any = gym.make_vec(
            config.env, num_envs=1, vectorization_mode="sync", **config.env_config
        )
        return made.unwrapped  # type: ignore[no-any-return]
    create = create or config.env
    return gym.vector.SyncVectorEnv([lambda: create(EnvContext(config.env_config, worker_index=0))])
