"""Import paths, by which YAML and the command line name a class or function of the user."""

import importlib
from typing import Any

from rllib_vlm_reward.errors import ConfigError

__all__ = ["import_path_of", "load_object"]


def load_object(path: str, what: str) -> Any:
    """Return the object that ``package.module.name`` names.

    Args:
        path: an import path with at least one dot; the part after the last dot is the name.
        what: the setting that holds the path, for the error message.

    Raises:
        ConfigError: the module does not exist, or has no such name.

    Example:
        >>> load_object("math.tau", "metric")
        6.283185307179586
        >>> load_object("math.pie", "metric")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: metric: cannot import 'math.pie' (module 'math' has \
no attribute 'pie'), expected package.module.name. Correct the name, install its package, or set \
PYTHONPATH.
    """
    if not isinstance(path, str):  # a list in YAML may hold anything
        raise ConfigError(
            f"{what}: got {path!r}, expected an import path, package.module.name. Correct it."
        )
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{what}: cannot import {path!r} ({error}), expected package.module.name. Correct the "
            "name, install its package, or set PYTHONPATH."
        ) from error


def import_path_of(thing: Any) -> str:
    """Return the import path of a class or function, as :func:`load_object` takes it.

    Example:
        >>> import json
        >>> import_path_of(json.dumps)
        'json.dumps'
    """
    return f"{thing.__module__}.{thing.__qualname__}"
