"""Checks before training that a module of this package suits its settings and its spaces."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies.default import SETTINGS
from rllib_vlm_reward.policies.goal_conditioned import GoalConditionedModule
from rllib_vlm_reward.policies.memory import has_memory
from rllib_vlm_reward.policies.replayed import GoalConditionedQModule, GoalConditionedSACModule
from rllib_vlm_reward.policies.sizes import Sizes
from rllib_vlm_reward.settings import key_hint

__all__ = ["build_once", "check_model_config", "is_ours"]

_MODULES = (GoalConditionedModule, GoalConditionedQModule, GoalConditionedSACModule)


def is_ours(config: AlgorithmConfig) -> bool:
    """Return whether a configuration has one of this package's modules, not one derived of it."""
    return getattr(config._rl_module_spec, "module_class", None) in _MODULES


def check_model_config(config: AlgorithmConfig, settings: Mapping[str, Any]) -> None:
    """Check the keys and sizes of a module of this package.

    Args:
        config: a configuration with such a module.
        settings: its ``model_config``.

    Raises:
        ConfigError: the module does not read a key, or a value is outside its range.
    """
    has_memory(settings)
    module, defaults = config._rl_module_spec.module_class, dataclasses.asdict(DefaultModelConfig())
    for key in sorted(settings.keys() - SETTINGS - type(config)().model_config.keys()):
        is_default = key in defaults and settings[key] == defaults[key]
        is_read = key in defaults and module is not GoalConditionedModule
        if not (is_default or is_read):
            raise ConfigError(
                f"policy.model_config: got {key!r}, which {module.__name__} does not read. "
                f"{key_hint(key, sorted(SETTINGS), 'policy.model_config')}"
            )
    Sizes.of(settings)


def build_once(
    config: AlgorithmConfig, observations: gym.Space[Any], actions: gym.Space[Any]
) -> None:
    """Build a configuration's module, to see whether it suits its spaces.

    An error in a remote env runner would reach the driver as RLlib 2.60's IndexError, a minute
    later.

    Args:
        config: a configuration with a module of this package.
        observations: what the module gets to see.
        actions: the env's actions.

    Raises:
        ConfigError, GoalError: see the module.
    """
    with torch.random.fork_rng(devices=[]):
        config.get_rl_module_spec(spaces={DEFAULT_MODULE_ID: (observations, actions)}).build()
