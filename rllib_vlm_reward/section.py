"""A part of a configuration: frozen, and it knows its keys."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from typing_extensions import Self

__all__ = ["Positive", "Section"]

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
