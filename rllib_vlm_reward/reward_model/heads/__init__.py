"""Heads compute the score of a frame from its embedding and its goal.

Each head has its own file. :data:`HEADS` lists the built-in heads. To use a head of your own,
derive a class from :class:`Head` and give its import path. Importing a head does not import torch.
"""

import dataclasses
import hashlib
import typing
from collections.abc import Callable
from types import UnionType
from typing import Any

import numpy as np
import pydantic

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.heads.base import Head, field_types
from rllib_vlm_reward.reward_model.heads.cosine import Cosine
from rllib_vlm_reward.reward_model.heads.dense import Dense
from rllib_vlm_reward.reward_model.heads.goal_baseline import GoalBaseline
from rllib_vlm_reward.reward_model.heads.sigmoid import Sigmoid
from rllib_vlm_reward.reward_model.heads.softmax import Softmax
from rllib_vlm_reward.settings import (
    check_number,
    declare_keys,
    excerpt,
    import_path_of,
    key_hint,
    load_object,
    messages,
)

__all__ = [
    "HEADS",
    "Cosine",
    "Dense",
    "GoalBaseline",
    "Head",
    "Sigmoid",
    "Softmax",
    "head_settings",
    "head_summary",
    "make_head",
]

HEADS: dict[str, type[Head]] = {
    "softmax": Softmax,
    "cosine": Cosine,
    "goal_baseline": GoalBaseline,
    "sigmoid": Sigmoid,
    "dense": Dense,
}

_PLACE = "vlm_reward.head"
for _class in HEADS.values():
    declare_keys(_PLACE, ["kind", *(field.name for field in dataclasses.fields(_class))])


def make_head(given: Any) -> Head:
    """Return the head that settings describe.

    Args:
        given: a head; or a kind, which is a key of :data:`HEADS` or an import path; or a mapping
            with ``kind`` and fields of that class.

    Raises:
        ConfigError: the import path cannot be imported.
        RewardError: the kind is unknown, the class is not a head, or it refuses a field.

    Example:
        >>> make_head("cosine")
        Cosine()
        >>> make_head({"kind": "softmax", "temperature": 0.02})
        Softmax(temperature=0.02)
        >>> make_head({"kind": "softmax", "alpha": 0.5})
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.RewardError: head softmax: unknown key 'alpha'. The keys are \
['temperature'].
    """
    if isinstance(given, Head):
        return given
    settings = {"kind": given} if isinstance(given, str) else given
    if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
        raise RewardError(
            f"head: got {excerpt(given)}, expected one of {[*HEADS]}, the import path of a class "
            "of your own, or a mapping with one of these as `kind`, such as {kind: softmax, "
            "temperature: 0.02}. Choose one of them."
        )
    kind = settings["kind"]
    fields = {key: value for key, value in settings.items() if key != "kind"}
    head_class = _head_class(kind)
    keys = _given_fields(head_class)
    for key in fields:
        if key not in keys:
            hint = key_hint(key, keys, _PLACE)
            raise RewardError(f"head {kind}: unknown key {key!r}. {hint}")
    try:
        fields = _arguments(head_class, fields)
    except ValueError as error:
        raise RewardError(f"head {kind}: {error}") from error
    try:
        return pydantic.TypeAdapter(head_class).validate_python(fields)
    except pydantic.ValidationError as error:
        raise RewardError(f"head {kind}: {'; '.join(messages(error))}") from error


def _arguments(owner: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Convert the lists among a dataclass's fields to arrays, see :func:`_with_arrays`.

    Raises:
        ValueError: a list is no array of the declared dtype, or a boolean or a text has the place
            of a number. The message begins with the field.
    """
    hints = field_types(owner)
    arguments = {}
    for key, value in fields.items():
        try:
            check_number(hints.get(key), value)
            arguments[key] = _with_arrays(hints.get(key), value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return arguments


def _with_arrays(hint: Any, value: Any) -> Any:
    """Convert lists to arrays where a type hint has arrays, of the dtype that it declares.

    A mapping ``{dtype: float32, values: [...]}`` is an array anywhere.
    """
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        converted = (_with_arrays(part, value) for part in parts)
        return next((result for result in converted if _dtypes(result)), value)
    if isinstance(value, dict):
        if value.keys() == {"dtype", "values"}:
            return _array(value["values"], value["dtype"])
        if dataclasses.is_dataclass(origin):
            return _arguments(origin, value)
        part = parts[1] if origin is dict and parts else None
        return {key: _with_arrays(part, item) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if origin is np.ndarray:
        # NDArray[np.float32] is ndarray[shape, dtype[np.float32]].
        types = [part for part in parts if typing.get_origin(part) is np.dtype]
        return _array(value, *(typing.get_args(dtype)[0] for dtype in types))
    if origin is tuple and len(parts) == len(value) and ... not in parts:
        return [_with_arrays(*each) for each in zip(parts, value, strict=True)]
    part = parts[0] if parts else None
    return [_with_arrays(part, item) for item in value]


def _array(values: Any, dtype: Any = None) -> Any:
    try:
        return np.array(values, dtype)
    except (ValueError, TypeError, OverflowError) as error:
        declared = "" if dtype is None else f" of {getattr(dtype, '__name__', dtype)}"
        reason = str(error).removesuffix(".")
        raise ValueError(
            f"got {excerpt(values)}, expected an array{declared} ({reason}). Correct the values, "
            "or the dtype."
        ) from error


def _head_class(kind: str) -> type[Head]:
    if kind in HEADS:
        return HEADS[kind]
    if "." not in kind:
        raise RewardError(
            f"head: got {kind!r}, expected one of {[*HEADS]}, or the import path of a class of "
            "your own, such as package.module.Class. Choose one of them."
        )
    found = load_object(kind, "head")
    if not (
        isinstance(found, type) and issubclass(found, Head) and dataclasses.is_dataclass(found)
    ):
        raise RewardError(
            f"head: got {kind!r}, which is {found!r}, expected a frozen dataclass that derives "
            "from rllib_vlm_reward.Head. Correct the import path or the class."
        )
    if found.__call__ is Head.__call__:
        raise RewardError(
            f"head: got {kind!r}, which computes no scores, expected a class with a method "
            "__call__(images, bank, goals). Write it."
        )
    return found


def head_settings(head: Head) -> Any:
    """Return the settings from which :func:`make_head` makes the head.

    An array is a list if its field declares its dtype, as ``NDArray[np.float32]`` does; otherwise
    it is a mapping ``{dtype: float32, values: [...]}``.

    Example:
        >>> head_settings(Softmax()), head_settings(Softmax(0.02))
        ('softmax', {'kind': 'softmax', 'temperature': 0.02})
    """
    hints = field_types(type(head))

    def write(name: str, value: Any) -> Any:
        plain = _to_plain(value, lambda array: array.tolist())
        if _dtypes(_with_arrays(hints.get(name), plain)) == _dtypes(value):
            return plain
        return _to_plain(value, lambda array: {"dtype": str(array.dtype), "values": array.tolist()})

    return _settings(head, write)


def head_summary(head: Head) -> Any:
    """Return the head's settings to show or compare, with a hash in place of each array.

    Example:
        >>> head_summary(GoalBaseline(0.25))
        {'kind': 'goal_baseline', 'alpha': 0.25}
    """

    def write(array: Any) -> str:
        content = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype} {list(array.shape)} {content[:16]}"

    return _settings(head, lambda _, value: _to_plain(value, write))


def _settings(head: Head, write: Callable[[str, Any], Any]) -> Any:
    """Return kind and fields; ``write`` turns a field's name and value into plain types."""
    names = {head_class: name for name, head_class in HEADS.items()}
    kind = names.get(type(head)) or import_path_of(type(head))
    fields = {}
    for field in dataclasses.fields(head):
        value = getattr(head, field.name)
        # Arrays cannot be compared with the default, so they are always written.
        if field.init and (_dtypes([value, field.default]) or value != field.default):
            fields[field.name] = write(field.name, value)
    return {"kind": kind, **fields} if fields else kind


def _dtypes(value: Any) -> list[Any]:
    """Return the dtypes of all arrays in a field's value, in order."""
    if isinstance(value, list | tuple):
        return [dtype for item in value for dtype in _dtypes(item)]
    if isinstance(value, dict):
        return _dtypes([*value.values()])
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return [np.asarray(value).dtype]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [dtype for name in _given_fields(value) for dtype in _dtypes(getattr(value, name))]
    return []


def _given_fields(value: Any) -> list[str]:
    """Return the names of a dataclass's fields that its ``__init__`` takes."""
    return [field.name for field in dataclasses.fields(value) if field.init]


def _to_plain(value: Any, write_array: Callable[[Any], Any]) -> Any:
    """Return a field's value in the types of YAML and JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__"):
        return write_array(np.ascontiguousarray(value))
    if isinstance(value, list | tuple):
        return [_to_plain(item, write_array) for item in value]
    if isinstance(value, dict):
        return {key: _to_plain(item, write_array) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _to_plain(getattr(value, name), write_array) for name in _given_fields(value)}
    return value
