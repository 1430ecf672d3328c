"""The base class of a configuration's sections, and functions for their keys and errors."""

import difflib
import itertools
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import pydantic
from pydantic_core import CoreSchema, ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import no_info_wrap_validator_function
from typing_extensions import Self

from rllib_vlm_reward.errors import ConfigError

__all__ = [
    "Positive",
    "Section",
    "check_number",
    "declare_keys",
    "excerpt",
    "key_hint",
    "messages",
    "validated",
]

Positive = Annotated[float, pydantic.Field(gt=0.0, allow_inf_nan=False)]

# The sections that each key of a run belongs to, for the error about a key in the wrong place.
_PLACES: dict[str, list[str]] = {}
Key: TypeAlias = tuple[str, ...]  # from the outermost section
# What papers call a key, in lower case.
_ALSO_CALLED = {"beta": "threshold", "β": "threshold", "tau": "temperature", "τ": "temperature"}


def declare_keys(place: str, keys: Iterable[str]) -> None:
    """Register keys as belonging to a place of a run's YAML.

    If one of these keys is used in another place, the error names this place.

    Args:
        place: such as ``vlm_reward.serving``.
        keys: the keys that belong there.
    """
    for key in keys:
        places = _PLACES.setdefault(key, [])
        if place not in places:
            places.append(place)


def _with_messages(given: Any, validate: pydantic.ValidatorFunctionWrapHandler) -> Any:
    """Validate a section; an error has the messages that the command line shows.

    pydantic's own have no remedy, and end with a link to a page about pydantic.
    """
    try:
        return validate(given)
    except pydantic.ValidationError as error:
        title, lines = error.title, [_worded(*each) for each in _wrong_keys(error)]
    raise pydantic.ValidationError.from_exception_data(title, lines)


def _worded(key: Key, details: ErrorDetails) -> InitErrorDetails:
    message = PydanticCustomError(_WORDED, "{message}", {"message": _message(details)})
    return {"type": message, "loc": key, "input": details["input"]}


class Section(pydantic.BaseModel):
    """A frozen section of a configuration.

    If a class gives its ``place``, as in ``class Stop(Section, place="stop")``, its keys are
    registered with :func:`declare_keys`.

    Attributes:
        place: where the section is in a run's YAML; empty if it has no fixed place.
        is_whole: whether :meth:`model_copy` replaces the whole section by a mapping, rather than
            single keys.

    Example:
        >>> class Stop(Section):
        ...     env_steps: int
        >>> Stop(env_stepts=100)
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Stop
          unknown key 'env_stepts'. Did you mean 'env_steps'? ...
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True
    )
    place: ClassVar[str] = ""
    is_whole: ClassVar[bool] = False

    def __init_subclass__(cls, *, place: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # without place, which pydantic does not accept

    @classmethod
    def __pydantic_init_subclass__(cls, *, place: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.place = place
        if place:
            declare_keys(place, cls.keys())

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> CoreSchema:
        # Around all validators, also those of subclasses.
        return no_info_wrap_validator_function(_with_messages, handler(source))

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys as they are written in YAML."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, which are checked as in a new section.

        If a field is a section, a mapping for it changes only the keys in the mapping, unless the
        section :attr:`is_whole`. pydantic's method does not check the values, and keeps what was
        computed from the old values.

        Args:
            update: the new values by field name.
            deep: has no effect, since sections are frozen.

        Raises:
            pydantic.ValidationError: a key is unknown, or a value is outside its range.

        Example:
            >>> class Stop(Section):
            ...     env_steps: int
            ...     wall_seconds: float | None = None
            >>> class Run(Section):
            ...     stop: Stop
            >>> run = Run(stop=Stop(env_steps=100))
            >>> run.model_copy(update={"stop": {"wall_seconds": 60}})
            Run(stop=Stop(env_steps=100, wall_seconds=60.0))
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for key, value in dict(update or {}).items():
            present = getattr(self, key, None)
            if isinstance(present, Section) and isinstance(value, Mapping) and not present.is_whole:
                value = present.model_copy(update=value)
            given[key] = value
        alias = {name: field.alias or name for name, field in type(self).model_fields.items()}
        return type(self).model_validate({alias.get(key, key): given[key] for key in given})

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_keys(cls, given: Any) -> Any:
        keys = cls.keys()
        if isinstance(given, str | int | float | list):
            raise ValueError(
                f"got {given!r}, expected keys with values. The keys are {', '.join(keys)}."
            )
        for key in given if isinstance(given, dict) else ():
            if key not in keys:
                raise ValueError(f"unknown key {key!r}. {key_hint(key, keys, cls.place)}")
        return given

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _refuse_no_number(cls, given: Any, info: pydantic.ValidationInfo) -> Any:
        if info.field_name is not None:
            check_number(cls.model_fields[info.field_name].annotation, given)
        return given


def check_number(hint: Any, given: Any) -> None:
    """Refuse a boolean or a text where a type hint has a number, which pydantic would convert.

    Args:
        hint: the type hint of the value.
        given: the value.

    Raises:
        ValueError: the hint allows numbers, but neither booleans nor this text.

    Example:
        >>> check_number(float | None, 0.5)
        >>> check_number(float | None, True)
        Traceback (most recent call last):
        ...
        ValueError: got True, a boolean, expected a number. Write one; YAML reads yes, no, on and \
off as booleans.
    """
    leaves = list(_leaves(hint))
    if isinstance(given, list | tuple):
        for kind, value in _items(leaves, given):
            check_number(kind, value)
    if not isinstance(given, bool | str):
        return
    if not {int, float} & {*leaves}:
        return
    if isinstance(given, bool) and bool not in leaves:
        raise ValueError(
            f"got {given}, a boolean, expected a number. Write one; YAML reads yes, no, on and off "
            "as booleans."
        )
    if isinstance(given, str) and str not in leaves and given not in leaves and _is_number(given):
        remedy = "Remove the quotes." if math.isfinite(float(given)) else "Write a finite one."
        raise ValueError(f"got {given!r}, a text, expected a number. {remedy}")


def _items(leaves: Iterable[Any], given: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the type hint and the value of each item of a list, if one hint is that of a list."""
    lists = [leaf for leaf in leaves if get_origin(leaf) in (list, tuple)]
    if len(lists) == 1:
        kinds = get_args(lists[0])
        same = len(kinds) == 1 or kinds[-1] is Ellipsis
        yield from zip(itertools.repeat(kinds[0]) if same else kinds, given, strict=False)


def _leaves(hint: Any) -> Iterator[Any]:
    """Yield the types and literal values of a hint."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _leaves(get_args(hint)[0])
    elif origin in (Union, UnionType):
        for part in get_args(hint):
            yield from _leaves(part)
    elif origin is Literal:
        yield from get_args(hint)
    else:
        yield hint


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def key_hint(key: Any, keys: list[str], place: str = "") -> str:
    """Return a sentence that says where an unknown key belongs, or which key may be meant.

    Args:
        key: the unknown key.
        keys: the valid keys in the same place.
        place: the place in which the unknown key was found.
    """
    others = {
        name: [other for other in places if other != place] for name, places in _PLACES.items()
    }
    if isinstance(key, int | float):
        return "YAML ends a value at a comma: write a number without commas, such as 150000."
    name = _ALSO_CALLED.get(str(key).lower())
    if name is not None:
        return f"It is called {name!r} here. " + (
            "Rename it." if name in keys else key_hint(name, keys, place)
        )
    if others.get(key):
        return f"It belongs in {' or '.join(others[key])}. Move it there."
    close = difflib.get_close_matches(str(key), keys, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    other_keys = [name for name, places in others.items() if places]
    elsewhere = difflib.get_close_matches(str(key), other_keys, n=1, cutoff=0.8)
    if elsewhere:
        return f"Did you mean {elsewhere[0]!r} of {others[elsewhere[0]][0]}?"
    return f"The keys are {keys}."


S = TypeVar("S", bound=Section)


def validated(section: type[S], settings: Any, where: str) -> S:
    """Return a section made from settings.

    Args:
        section: the class.
        settings: a mapping with the keys of the class.
        where: where the settings come from, such as a file, for the error message.

    Raises:
        ConfigError: a key is unknown, or a value is outside its range.

    Example:
        >>> class Stop(Section):
        ...     env_steps: int
        >>> validated(Stop, {"env_steps": "many"}, "run.yaml")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: run.yaml: env_steps: got 'many', expected a whole \
number. Correct it.
    """
    try:
        return section.model_validate(settings)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(messages(error))}") from error


_MOST_MESSAGES = 10
_WORDED = "wrong_setting"  # the type of an error that has its final message


def messages(error: pydantic.ValidationError) -> list[str]:
    """Return a message for each error, up to ten: its key, the given value, and the problem.

    Example:
        >>> class Stop(Section):
        ...     env_steps: int
        >>> try:
        ...     Stop(env_steps="many")
        ... except pydantic.ValidationError as error:
        ...     messages(error)
        ["env_steps: got 'many', expected a whole number. Correct it."]
    """
    found = _wrong_keys(error)
    rest = len(found) - _MOST_MESSAGES
    more = [f"got {rest} more wrong values. Correct those above first."] if rest > 0 else []
    first = [(".".join(key), _message(details)) for key, details in found[:_MOST_MESSAGES]]
    return [f"{key}: {message}" if key else message for key, message in first] + more


def _wrong_keys(error: pydantic.ValidationError) -> list[tuple[Key, ErrorDetails]]:
    """Return one error for each key; pydantic reports several if a value may have several types."""
    by_key: dict[Key, ErrorDetails] = {}
    for details in error.errors():
        key = _key(details)
        # A text or a mapping: of its two errors, the one about what was given.
        if key not in by_key or _is_section(details["input"]):
            by_key[key] = details
    # A list of which each item is wrong is also reported as too short.
    return [
        (key, details)
        for key, details in by_key.items()
        if details["type"] != "too_short"
        or not any(other[: len(key)] == key != other for other in by_key)
    ]


def _key(details: ErrorDetails) -> Key:
    """Return the key of an error, without the names of types that pydantic adds."""
    parts: list[str] = []
    for part in details["loc"]:
        is_type = part == "str" or str(part).startswith("function-wrap[")
        if not (is_type and parts and parts[-1].isdigit()):  # one of a list whose items may differ
            parts.append(str(part))
    return tuple(parts)


def _is_section(given: Any) -> bool:
    """Return whether a mapping has values; YAML reads ``{red|blue}`` as one without."""
    return isinstance(given, dict) and any(value is not None for value in given.values())


def _message(details: ErrorDetails) -> str:
    if details["type"] == _WORDED:
        return details["msg"]
    if details["type"] == "value_error":
        return details["msg"].removeprefix("Value error, ")
    hint = _hint(details["input"], details["type"])
    if hint:
        return hint
    if details["type"] == "missing":
        return "the key is missing, expected a value. Add it."
    if details["type"] == "unexpected_keyword_argument":
        return "unknown key, expected a field of the class. Correct or remove it."
    expected = _in_plain_words(details["msg"])
    return f"got {excerpt(details['input'])}, expected {expected}. Correct it."


# What pydantic says, and what a reader of a YAML file understands.
_PLAIN_WORDS = {
    r"^\w+ should (be |have )?": "",
    r"^match pattern": "a text that matches",
    r"an instance of ndarray": "a list of numbers",
    r"a valid (dictionary( or instance of \w+)?|instance of \w+)": "a mapping",
    r"a valid (tuple|list)": "a list",
    r"a valid string": "a text",
    r"a valid integer": "a whole number",
    r"a valid number": "a number",
    r"a valid boolean": "true or false",
    r",? (after validation|unable to \w+ (string|input).*|got a number with a fractional part)": "",
}


def _in_plain_words(message: str) -> str:
    """Say what pydantic expects.

    Example:
        >>> _in_plain_words("Input should be a valid integer, unable to parse string as an integer")
        'a whole number'
    """
    for pattern, words in _PLAIN_WORDS.items():
        message = re.sub(pattern, words, message)
    return message


_EXCERPT = reprlib.Repr()
_EXCERPT.maxstring = _EXCERPT.maxother = _EXCERPT.maxlong = 100


def excerpt(value: Any) -> str:
    """Return the ``repr`` of a value for a message, or parts of it if it is long.

    Example:
        >>> excerpt(list(range(1000)))
        '[0, 1, 2, 3, 4, 5, ...]'
    """
    return _EXCERPT.repr(value)


def _hint(given: Any, problem: str) -> str:
    """Return the message for what YAML makes of values that newcomers write; "" for others."""
    if given is None and problem != "missing":
        return "got nothing, since the key is empty, expected a value. Give one, or remove the key."
    if problem == "string_type" and isinstance(given, bool | int | float):
        word = {True: "yes", False: "no"}.get(given, given) if isinstance(given, bool) else given
        return f'got {given!r}, expected a text. Put it in quotes, such as "{word}".'
    if isinstance(given, dict) and not _is_section(given) and problem == "string_type":
        return (
            f"got {excerpt(given)}, which YAML read as a mapping, expected a text. Put a text with "
            '{ } : # in quotes, as in ["pick up the {red|blue} ball"].'
        )
    if isinstance(given, str) and problem == "tuple_type":
        return f"got the text {excerpt(given)}, expected a list. Write [{given[:100]}]."
    if isinstance(given, str) and problem in ("int_parsing", "float_parsing"):
        number = given.replace(",", "").replace(" ", "")
        if number != given and number.replace(".", "", 1).isdigit():
            return f"got {given!r}, expected a number. Write {number}, without separators."
    return ""
