"""What runs need of RLlib that has no public name; the only file of run/ and sweep/ to use any.

Each function names the Ray version in which its private name was read.
"""

from collections.abc import Callable
from typing import Any

from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.env_runner import EnvRunner
from ray.tune.registry import ENV_CREATOR, _global_registry

__all__ = ["pipeline_of", "registered_env", "seed_next_reset", "set_configured_lr"]


def pipeline_of(env_runner: EnvRunner) -> EnvToModulePipeline:
    """Return an env runner's env-to-module pipeline (Ray 2.60: no public way to it)."""
    return env_runner._env_to_module


def seed_next_reset(env_runner: EnvRunner) -> None:
    """Let the next sample reset the envs with the env runner's seed.

    Ray 2.60 seeds the first reset alone; ``sample(force_reset=True)`` resets without a seed.
    """
    env_runner._needs_initial_reset = True


def registered_env(name: Any) -> Callable[[Any], Any] | None:
    """Return what ``tune.register_env`` registered under a name, or None.

    Ray 2.60 has ``register_env``, but no public way to look one up.

    Example:
        >>> registered_env("CartPole-v1") is None
        True
    """
    if not isinstance(name, str) or not _global_registry.contains(ENV_CREATOR, name):
        return None
    creator: Callable[[Any], Any] = _global_registry.get(ENV_CREATOR, name)
    return creator


def set_configured_lr(learner: Learner) -> None:
    """Set the configuration's learning rate, where it is a number, in a restored learner.

    The checkpoint's optimiser brings the old rate along, and Ray 2.60 would set the configured one
    only after the first update. A schedule goes by the steps, so there the checkpoint's is right.
    """
    for optimizer, schedule in learner._optimizer_lr_schedules.items():
        if not schedule.use_schedule:
            learner._set_optimizer_lr(optimizer, float(schedule.get_current_value()))
