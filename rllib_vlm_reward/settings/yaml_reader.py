"""Reads settings from YAML, and writes them."""

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
    """Reads 1e-3 as a number, and refuses a key that occurs twice or a value that contains itself.

    In YAML 1.1 1e-3 is a text and only 1.0e-3 a number, and PyYAML takes the last of two values.
    """

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.CollectionNode) and node.end_mark is None:
            raise yaml.composer.ComposerError(
                None, None, "the value refers to itself", node.start_mark
            )
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            # Such as the date 2024-02-30, or a number of 5,000 digits.
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"it cannot be read as {kind} ({error})", node.start_mark
            ) from error

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            line, typed_key = key.start_mark.line + 1, (key.tag, str(key.value))
            if typed_key in lines:
                raise ConfigError(
                    f"got the key {key.value!r} in line {lines[typed_key]} and again in line "
                    f"{line}, expected it once. Merge the two values, or remove one."
                )
            lines[typed_key] = line
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes the text 1e-3, since without quotes it would be read as a number."""


for _notation in (_Loader, _Dumper):
    _notation.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def dump_settings(settings: Any) -> str:
    """Return settings as YAML text, from which :func:`parse_settings` reads equal settings.

    Example:
        >>> print(dump_settings({"lr": 0.001, "name": "1e-3"}), end="")
        lr: 0.001
        name: '1e-3'
    """
    return yaml.dump(settings, Dumper=_Dumper, sort_keys=False)


def parse_settings(text: str) -> Any:
    """Read settings from YAML text.

    Raises:
        ConfigError: a key occurs twice in one mapping, or the text is not valid YAML.

    Example:
        >>> parse_settings("{lr: 1e-3, seed: 0}")
        {'lr': 0.001, 'seed': 0}
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"invalid YAML: {_explain(text, error)}.") from error
    except ConfigError:
        raise
    except RecursionError as error:
        raise ConfigError(
            "invalid YAML: got brackets within brackets, too deep to be read. Close them."
        ) from error
    except (ValueError, OverflowError) as error:  # PyYAML 6.0 passes on what chr() says
        raise ConfigError(
            f"invalid YAML: got an escape sequence that is no character ({error}). Correct it: "
            "after \\U in double quotes stands the number of a character, up to 0010FFFF."
        ) from error


def _explain(text: str, error: yaml.YAMLError) -> str:
    """Say what is wrong in which line; and how a text is written whose signs YAML reads itself."""
    if isinstance(error, yaml.reader.ReaderError):
        number = text.count("\n", 0, error.position) + 1
        return (
            f"got the character #x{error.character:04x} (line {number}), which YAML does not "
            "allow. Remove it, or write it as an escape sequence in double quotes"
        )
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{error}. Correct it"
    lines, mark = text.splitlines(), error.problem_mark
    if mark.line >= len(lines) and error.context_mark is not None:
        mark = error.context_mark  # what began there never ends
    row, column = mark.line, mark.column
    line = lines[row].strip() if row < len(lines) else ""
    excerpt = line if len(line) <= 100 else f"{line[:100]}..."
    message = f"{error.problem} (line {row + 1}, column {column + 1}: {excerpt}). "
    if "\\t" in str(error.problem):
        return f"{message}Indent with spaces, not with tabs"
    if {*"{}|#"} & {*line} or line.count(": ") > 1:
        return (
            f"{message}Put a text with {{ }} : # in quotes, as in goals: "
            '["pick up the {red|blue} ball"]'
        )
    return f"{message}Correct the line; put a text that YAML reads otherwise in quotes"


def read_settings(path: Path) -> Any:
    """Read settings from a YAML file.

    Raises:
        ConfigError: see :func:`parse_settings`; or the text is not UTF-8. The message names the
            file.
        OSError: the file cannot be read.
    """
    try:
        return parse_settings(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: got text that is not UTF-8 ({error.reason} at byte {error.start}). Save the "
            "file as UTF-8."
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def assign_settings(settings: Any, assignments: Sequence[str]) -> Any:
    """Return a copy of settings in which single values are replaced or added.

    Args:
        settings: settings that :func:`parse_settings` returned.
        assignments: texts ``KEY=VALUE``. Dots in the key separate the keys of nested mappings,
            which are created if missing, and indices of lists. The value is YAML.

    Raises:
        ConfigError: an assignment has no ``=``, its key leads into a value that is neither a
            mapping nor a list, or the index is not in the list.

    Example:
        >>> run = {"seed": 0, "vlm_reward": {"goals": ["a ball", "a key"]}}
        >>> assign_settings(run, ["vlm_reward.threshold=0.6", "vlm_reward.goals.1=a box"])
        {'seed': 0, 'vlm_reward': {'goals': ['a ball', 'a box'], 'threshold': 0.6}}
        >>> assign_settings(run, ["seed.of.env=1"])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: --set seed.of.env=1: 'seed' is 0, expected a \
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
    """Set a value at the place that a key's parts name."""
    for depth, part in enumerate(parts[:-1]):
        where = _place(settings, parts, depth)
        if isinstance(settings, dict) and settings.get(part) is None:
            settings[part] = {}
        settings = settings[where]
    settings[_place(settings, parts, len(parts) - 1)] = value


def _place(settings: Any, parts: Sequence[str], depth: int) -> str | int:
    """Return one part of a key as the key of a mapping or the index of a list."""
    part, here = parts[depth], ".".join(parts[:depth]) or "the file"
    if isinstance(settings, dict):
        return part
    if not isinstance(settings, list):
        raise ConfigError(
            f"{here!r} is {settings!r}, expected a mapping or a list. Set {here!r} itself, or "
            "correct the key."
        )
    if not part.isdigit() or int(part) >= len(settings):
        raise ConfigError(
            f"{here!r} is a list of length {len(settings)}, but {part!r} is not one of its "
            f"indices, which start at 0. Correct it, or set {here!r} itself."
        )
    return int(part)
