"""One env of an algorithm, outside of its vector envs."""

from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext

from rllib_vlm_reward.connectors.pipeline import registered_env

__all__ = ["make_settings", "single_env"]


def single_env(config: AlgorithmConfig, worker_index: int = 0) -> Any:
    """Make an env as a sub-env of an env runner is made, with the wrappers of its ``env_config``.

    Args:
        config: the configuration of the algorithm.
        worker_index: RLlib's index of the env runner, which an env may read in its ``env_config``.
    """
    create = registered_env(config.env) or config.env
    if callable(create):
        return create(EnvContext(config.env_config, worker_index=worker_index))
    env: gym.Env[Any, Any] = gym.make(create, **make_settings(config.env_config))
    for wrap in config.env_config.get("wrappers", ()):
        env = wrap(env)
    return env


def make_settings(env_config: dict[str, Any]) -> dict[str, Any]:
    """Return what ``gymnasium.make`` takes of the settings for ``gymnasium.make_vec``."""
    make_vec_only = ("vector_kwargs", "wrappers")
    return {key: value for key, value in env_config.items() if key not in make_vec_only}
