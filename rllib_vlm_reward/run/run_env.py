"""The env of a run, outside of training."""

from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry

from rllib_vlm_reward.run.experiment import Experiment

__all__ = ["make_env"]


def make_env(experiment: Experiment) -> gym.vector.SyncVectorEnv:
    """Make a run's env as RLlib's env runner does, in its wrappers, as one sub-env in this process.

    With a curriculum it draws the goals of training, each as likely as another. Needs no Ray.

    Args:
        experiment: of a single-agent env: a gymnasium id, one registered with Tune, or a class.

    Returns:
        A vector env whose ``envs[0]`` is the env.

    Raises:
        ConfigError, FrameError, GoalError, RewardError: what
            :meth:`.Experiment.to_algorithm_config` refuses.

    Example:
        >>> world = make_env(Experiment.from_yaml('''
        ... environment: {env: rllib_vlm_reward/Find-v0, env_config: {room_size: 5}}
        ... vlm_reward: {encoder: small, goals: ["go to the red {ball|box|key}"]}
        ... stop: {env_steps: 1}
        ... '''))
        >>> world.envs[0].reset(seed=0)[0].shape
        (56, 56, 3)
    """
    config = experiment.to_algorithm_config()
    if isinstance(config.env, str) and not _global_registry.contains(ENV_CREATOR, config.env):
        made: Any = gym.make_vec(
            config.env, num_envs=1, vectorization_mode="sync", **config.env_config
        )
        return made.unwrapped  # type: ignore[no-any-return]
    return gym.vector.SyncVectorEnv([lambda: _create(config)])


def _create(config: AlgorithmConfig) -> gym.Env[Any, Any]:
    registered = isinstance(config.env, str)
    create = _global_registry.get(ENV_CREATOR, config.env) if registered else config.env
    env: gym.Env[Any, Any] = create(EnvContext(config.env_config, worker_index=0))
    return env
