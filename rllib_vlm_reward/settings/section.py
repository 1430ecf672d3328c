"""A section of a configuration: frozen, and it knows its keys."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic
from pydantic_core import ErrorDetails
from typing_extensions import Self

from rllib_vlm_reward.errors import ConfigError

__all__ = ["Positive", "Section", "declare_keys", "key_hint", "messages", "validated"]

Positive = Annotated[float, pydantic.Field(gt=0.0, allow_inf_nan=False)]

# Where each key of a run belongs, for the error about a key in the wrong place.
_PLACES: dict[str, list[str]] = {}


def declare_keys(place: str, keys: Iterable[str]) -> None:
    """Say that keys belong in a place of a run's YAML, such as ``vlm_reward.serving``.

    An unknown key elsewhere is then an error that names the place.
    """
    for key in keys:
        places = _PLACES.setdefault(key, [])
        if place not in places:
            places.append(place)


class Section(pydantic.BaseModel):
    """A frozen section of a configuration.

    A class that says its ``place``, as in ``class Stop(Section, place="stop")``, declares its keys
    (:func:`declare_keys`).

    Attributes:
        place: where the section stands in a run's YAML; empty if it has no place of its own.
        is_whole: whether a mapping replaces the section in a copy, rather than some of its keys.

    Example:
        >>> class Stop(Section):
        ...     env_steps: int
        >>> Stop(env_stepts=100)
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for Stop
          Value error, unknown key 'env_stepts'. Did you mean 'env_steps'? ...
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    place: ClassVar[str] = ""
    is_whole: ClassVar[bool] = False

    def __init_subclass__(cls, *, place: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # which takes no place

    @classmethod
    def __pydantic_init_subclass__(cls, *, place: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.place = place
        if place:
            declare_keys(place, cls.keys())

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys as YAML has them."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, checked as if it were made anew.

        A mapping for a field that is a section changes the keys that it names, and leaves that
        section's others as they are, unless it :attr:`is_whole`. pydantic's own method neither
        checks the values nor forgets what was computed from the old ones. What is frozen need not
        be copied deeply.

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
    def _know_keys(cls, given: Any) -> Any:
        known = cls.keys()
        for key in given if isinstance(given, dict) else ():
            if key not in known:
                raise ValueError(f"unknown key {key!r}. {key_hint(key, known, cls.place)}")
        return given


def key_hint(key: Any, known: list[str], place: str = "") -> str:
    """Return where an unknown key belongs, or which one may be meant.

    Args:
        key: the unknown key.
        known: the keys where it stands.
        place: where it stands; other places are named.
    """
    others = {key: [each for each in its if each != place] for key, its in _PLACES.items()}
    if others.get(key):
        return f"It belongs in {' or '.join(others[key])}. Move it there."
    close = difflib.get_close_matches(str(key), known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    named = [each for each, places in others.items() if places]
    elsewhere = difflib.get_close_matches(str(key), named, n=1, cutoff=0.8)
    if elsewhere:
        return f"Did you mean {elsewhere[0]!r} of {others[elsewhere[0]][0]}?"
    return f"The keys are {known}."


S = TypeVar("S", bound=Section)


def validated(section: type[S], settings: Any, where: str) -> S:
    """Return the section that settings make.

    Args:
        section: the class.
        settings: a mapping with its keys.
        where: the file, or another name of where the settings come from, for the error.

    Raises:
        ConfigError: an unknown key, or a value outside its range.

    Example:
        >>> class Stop(Section):
        ...     env_steps: int
        >>> validated(Stop, {"env_steps": "many"}, "run.yaml")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: run.yaml: env_steps: got 'many'. Input should be ...
    """
    try:
        return section.model_validate(settings)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(messages(error))}") from error


def messages(error: pydantic.ValidationError) -> list[str]:
    """Return what is wrong: for each error the place and, of a plain value, what was given.

    Example:
        >>> class Stop(Section):
        ...     env_steps: int
        >>> try:
        ...     Stop(env_steps="many")
        ... except pydantic.ValidationError as error:
        ...     messages(error)
        ["env_steps: got 'many'. Input should be a valid integer, unable to parse string as ..."]
    """
    return [_message(each) for each in error.errors()]


def _message(error: ErrorDetails) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("value_error", "missing"):
        return f"{place}: {message}" if place else message
    return f"{place}: got {error['input']!r}. {message}."
