"""Checks the types of RLlib's settings, which RLlib itself reads much later."""

import inspect
import math
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_vlm_reward.errors import ConfigError

__all__ = ["arguments", "check_setting", "check_settings"]

_SCALARS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
_CONTAINERS = (list, tuple, dict, set)
# What RLlib annotates as an int, though it takes any number (Ray 2.55 to 2.60).
_ANY_NUMBER = {
    "grad_clip",  # of DQN
    "num_cpus_per_env_runner",
    "num_cpus_per_offline_eval_runner",
    "num_gpus_per_offline_eval_runner",
}
# No number of these sections is negative, and no whole number of any section. In the section
# training other numbers may be negative, such as v_min of DQN.
_NOT_NEGATIVE = ("env_runners", "learners", "evaluation", "fault_tolerance", "reporting")
# The smallest values of single settings.
_LEAST = {
    **dict.fromkeys(
        (
            "num_envs_per_env_runner",
            "max_requests_in_flight_per_env_runner",
            "env_runner_state_server_max_concurrency",
            "rollout_fragment_length",
            "train_batch_size",
            "train_batch_size_per_learner",
            "num_epochs",
            "minibatch_size",
            "n_step",
            "num_atoms",
            "circular_buffer_num_batches",
            "circular_buffer_iterations_per_batch",
            "max_requests_in_flight_per_learner",
            "max_requests_in_flight_per_aggregator_actor",
            "evaluation_duration",
            "offline_eval_batch_size_per_runner",
            "max_requests_in_flight_per_offline_eval_runner",
            "metrics_num_episodes_for_smoothing",
        ),
        1,
    ),
    **dict.fromkeys(("lr", "gamma", "lambda_", "grad_clip", "clip_param", "tau"), 0),
    # -1 restarts for ever.
    **dict.fromkeys(("max_num_env_runner_restarts", "max_num_offline_eval_runner_restarts"), -1),
}


def arguments(config: type[AlgorithmConfig], section: str) -> dict[str, Any]:
    """Return the arguments of one of a configuration's methods, with their annotations.

    Args:
        config: the class of the configuration.
        section: the name of the method, such as ``training``. Base classes are read too, since
            these methods pass other arguments on.
    """
    found: dict[str, Any] = {}
    for kind in reversed(config.__mro__):
        if section in vars(kind):
            for name, parameter in inspect.signature(vars(kind)[section]).parameters.items():
                found[name] = parameter.annotation
    return {name: hint for name, hint in found.items() if name not in ("self", "kwargs")}


def check_settings(config: AlgorithmConfig) -> None:
    """Check the settings of a configuration, which may have been made in Python.

    Raises:
        ConfigError: see :func:`check_setting`.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> check_settings(PPOConfig().learners(num_learners=-1))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: learners.num_learners: got -1, expected 0 or more. \
Correct it.
    """
    given = vars(config)
    for section in (*_NOT_NEGATIVE, "training"):
        for name, annotation in arguments(type(config), section).items():
            # A property of RLlib has its value under the name with an underscore.
            check_setting(section, name, given.get(name, given.get(f"_{name}")), annotation)


def check_setting(section: str, name: str, value: Any, annotation: Any) -> None:
    """Refuse a number, text or boolean of another type than the annotation of RLlib's method.

    Lists and mappings are left to RLlib, and so is every value for which RLlib takes an object.

    Args:
        section: the section of the run's YAML.
        name: the name of the setting.
        value: the value.
        annotation: the annotation of the method's argument.

    Raises:
        ConfigError: the value has another type or is NaN, or is too small.

    Example:
        >>> check_setting("training", "minibatch_size", "4,000", int | None)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: training.minibatch_size: got '4,000', a text, \
expected a whole number. Write it without quotes and commas.
    """
    if type(value) not in _SCALARS:
        return
    leaves = list(_leaves(annotation))
    if any(leaf not in _SCALARS and leaf not in _CONTAINERS for leaf in leaves):
        return
    is_whole = int in leaves and float not in leaves and name not in _ANY_NUMBER
    if not is_whole and {int, float} & {*leaves}:
        leaves += [int, float]
    allowed = [leaf for leaf in (float, int, bool, str) if leaf in leaves]
    if allowed and type(value) not in allowed:
        named = [leaf for leaf in allowed if leaf is not int or float not in allowed]
        expected = " or ".join(_SCALARS[leaf] for leaf in named)
        remedy = "Write it without quotes and commas." if isinstance(value, str) else "Correct it."
        raise ConfigError(
            f"{section}.{name}: got {value!r}, {_SCALARS[type(value)]}, expected {expected}. "
            f"{remedy}"
        )
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{section}.{name}: got nan, expected a number. Correct it.")
    least = _LEAST.get(name, 0 if is_whole or section in _NOT_NEGATIVE else None)
    if least is not None and not isinstance(value, str) and value < least:
        raise ConfigError(f"{section}.{name}: got {value!r}, expected {least} or more. Correct it.")


def _leaves(annotation: Any) -> Iterator[Any]:
    """Yield the types in an annotation, without None; containers without their items."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _leaves(part)
    elif origin is Literal:
        yield from {type(value) for value in get_args(annotation)}
    elif annotation is not NoneType:
        yield origin if origin in _CONTAINERS else annotation
