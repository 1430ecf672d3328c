"""Settings as people write them in YAML."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rllib_vlm_reward.errors import ConfigError

__all__ = ["assign_settings", "dump_settings", "parse_settings", "read_settings"]

_FLOAT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 as a number, as people mean it, and refuses a key that stands twice.

    YAML 1.1 asks for 1.0e-3, and PyYAML takes the last of two.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            line, own = key.start_mark.line + 1, (key.tag, str(key.value))
            if own in lines:
                raise ConfigError(
                    f"got the key {key.value!r} in line {lines[own]} and again in line {line}, "
                    "expected it once. Put what it holds together."
                )
            lines[own] = line
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes the text 1e-3, which would be read as a number."""


for _notation in (_Loader, _Dumper):
    _notation.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def dump_settings(settings: Any) -> str:
    """Return settings as YAML text, which :func:`parse_settings` reads as they are.

    Example:
        >>> print(dump_settings({"lr": 0.001, "name": "1e-3"}), end="")
        lr: 0.001
        name: '1e-3'
    """
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False)


def parse_settings(text: str) -> Any:
    """Return what YAML text holds.

    Raises:
        ConfigError: a key stands twice in one mapping, or the text is no YAML.

    Example:
        >>> parse_settings("{lr: 1e-3, seed: 0}")
        {'lr': 0.001, 'seed': 0}
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"it is no YAML. {error}") from error


def read_settings(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ConfigError: as :func:`parse_settings`, and the text is not UTF-8; the file is named.
        OSError: it cannot be read.
    """
    try:
        return parse_settings(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def assign_settings(settings: Any, assignments: Sequence[str]) -> Any:
    """Return settings with single values replaced or added; the given ones stay as they are.

    Args:
        settings: what :func:`parse_settings` returned.
        assignments: each ``key=value``. A dot in the key leads into a mapping, which is made if it
            is missing, or with a number into a list; the value is YAML.

    Raises:
        ConfigError: an assignment without ``=``, or whose key leads into something that is neither
            a mapping nor a list with such a place.

    Example:
        >>> run = {"seed": 0, "vlm_reward": {"goals": ["a ball", "a key"]}}
        >>> assign_settings(run, ["vlm_reward.threshold=0.6", "vlm_reward.goals.1=a box"])
        {'seed': 0, 'vlm_reward': {'goals': ['a ball', 'a box'], 'threshold': 0.6}}
        >>> assign_settings(run, ["seed.of.env=1"])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: --set seed.of.env=1: 'seed' holds 0, expected a \
mapping or a list. Set 'seed' itself, or correct the key.
    """
    changed = copy.deepcopy(settings)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(
                f"--set: got {assignment!r}, expected KEY=VALUE, such as vlm_reward.threshold=0.6."
            )
        try:
            _put(changed, key.split("."), parse_settings(value))
        except ConfigError as error:
            raise ConfigError(f"--set {assignment}: {error}") from error
    return changed


def _put(settings: Any, parts: Sequence[str], value: Any) -> None:
    """Set a value where a key's parts lead."""
    for depth, part in enumerate(parts[:-1]):
        where = _place(settings, parts, depth)
        if isinstance(settings, dict) and settings.get(part) is None:
            settings[part] = {}
        settings = settings[where]
    settings[_place(settings, parts, len(parts) - 1)] = value


def _place(settings: Any, parts: Sequence[str], depth: int) -> str | int:
    """Return the mapping's key or the list's index that one part of a key stands for."""
    part, here = parts[depth], ".".join(parts[:depth]) or "the file"
    if isinstance(settings, dict):
        return part
    if not isinstance(settings, list):
        raise ConfigError(
            f"{here!r} holds {settings!r}, expected a mapping or a list. Set {here!r} itself, or "
            "correct the key."
        )
    if not part.isdigit() or int(part) >= len(settings):
        raise ConfigError(
            f"{here!r} is a list of {len(settings)}, expected one of its places, from 0. Correct "
            f"{part!r}, or set {here!r} itself."
        )
    return int(part)
