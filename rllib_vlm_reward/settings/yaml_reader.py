"""Settings as people write them in YAML."""

import re
from pathlib import Path
from typing import Any

import yaml

from rllib_vlm_reward.errors import ConfigError

__all__ = ["dump_settings", "parse_settings", "read_settings"]

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
