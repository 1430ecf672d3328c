"""A part of a configuration: frozen, and it knows its keys."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic_core import ErrorDetails
from typing_extensions import Self

from rllib_vlm_reward.errors import ConfigError

__all__ = ["Positive", "Section", "messages", "validated"]

Positive = Annotated[float, pydantic.Field(gt=0.0, allow_inf_nan=False)]


class Section(pydantic.BaseModel):
    """A frozen part of a configuration that knows its keys.

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

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, checked as if it were made anew.

        pydantic's own neither checks them nor forgets what was computed from the old ones. What is
        frozen need not be copied deeply.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set} | dict(update or {})
        alias = {name: field.alias or name for name, field in type(self).model_fields.items()}
        return type(self).model_validate({alias.get(key, key): own[key] for key in own})

    @pydantic.model_validator(mode="before")
    @classmethod
    def _know_keys(cls, given: Any) -> Any:
        names = [field.alias or name for name, field in cls.model_fields.items()]
        for key in given if isinstance(given, dict) else ():
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=1)
                hint = f"Did you mean {close[0]!r}?" if close else f"The keys are {names}."
                raise ValueError(f"unknown key {key!r}. {hint}")
        return given


S = TypeVar("S", bound=Section)


def validated(section: type[S], settings: Any, where: str) -> S:
    """Return what settings make of a section.

    Args:
        section: the class.
        settings: its keys.
        where: the file, or whatever else names their origin in the error.

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
    """Return what is wrong, each with its place and, of a plain value, what was got.

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
