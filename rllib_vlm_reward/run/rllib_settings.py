"""Checks the types of RLlib's settings, which RLlib itself reads much later."""

import inspect
import math
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_vlm_reward.errors import ConfigError

__all__ = ["arguments", "check_setting"]

_SCALARS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
}
_CONTAINERS = (list, tuple, dict, set)
# The sizes that must be whole numbers, and their minima. For other settings, RLlib's annotations do
# not tell whole numbers from others: DQN's grad_clip is an int (Ray 2.60).
_SIZES = {
    "num_env_runners": 0,
    "num_envs_per_env_runner": 1,
    "num_epochs": 1,
    "minibatch_size": 1,
    "rollout_fragment_length": 1,
    "train_batch_size": 1,
    "train_batch_size_per_learner": 1,
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


def check_setting(section: str, name: str, value: Any, annotation: Any) -> None:
    """Refuse a number, text or boolean of another type than the annotation of RLlib's method.

    Lists and mappings are left to RLlib, and so is every value for which RLlib takes an object.

    Args:
        section: the section of the run's YAML.
        name: the name of the setting.
        value: the value.
        annotation: the annotation of the method's argument.

    Raises:
        ConfigError: the value has another type or is NaN, or a size is too small.

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
    if float in leaves or (int in leaves and name not in _SIZES):
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
    least = _SIZES.get(name)
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
