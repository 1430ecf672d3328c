"""Which frames are scored: where they come from, which steps, and how many together."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from rllib_vlm_reward.config.scope import AGENT, EXPERT
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import Section, excerpt, import_path_of, load_object

__all__ = ["FrameConfig", "path_of"]

# The built-in sources, which connectors/frame_source.py makes.
_KINDS = re.compile(r"render|obs|(info|obs):.+")
_SELECTIONS = ("all", "last", "changed")


class FrameConfig(Section, place="vlm_reward.frames"):
    """Which frames are scored.

    Attributes:
        source: where frames come from: ``render``, ``obs``, ``obs:KEY`` or ``info:KEY``; or the
            import path of your own function, see
            :func:`~rllib_vlm_reward.connectors.frame_source.frame_source`.
        scored_steps: which steps are scored: ``all``; an integer k for every k-th step of the
            episode and the last; ``last`` for only the last step of the episode; ``changed`` for
            steps whose frame differs from the frame before, while the other steps repeat the last
            score. With the other values, a step that is not scored gets no reward from the VLM.
        window: a step's score is computed from the episode's last ``window`` scored frames.
        reduce: how it is computed from them: ``mean`` or ``max``.
        still: declare that frames may have one colour, or stay the same for whole episodes; then
            the alarms ``blank`` and ``frozen`` are not raised.

    Raises:
        pydantic.ValidationError: a key is unknown, or a value is outside its range.

    Example:
        >>> FrameConfig(source="info:crop", scored_steps=4).window
        1
    """

    source: Annotated[str, EXPERT] = "render"
    scored_steps: Literal["all", "last", "changed"] | int = "all"
    window: Annotated[int, Field(ge=1)] = 1
    reduce: Literal["mean", "max"] = "mean"
    still: Annotated[bool, AGENT] = False

    @pydantic.field_validator("source", mode="before")
    @classmethod
    def _check_source(cls, given: Any) -> Any:
        """Replace a function by its import path, and check that the source can be imported."""
        source = path_of(given) if callable(given) else given
        if not isinstance(source, str) or _KINDS.fullmatch(source):
            return source
        if "." not in source:
            raise ValueError(
                f"got {excerpt(source)}, expected render, obs, obs:KEY, info:KEY, or the import "
                "path of a function of your own, such as package.module.function. Choose one."
            )
        if not callable(load_object(source, "frames.source")):
            raise ValueError(
                f"got {excerpt(source)}, which is not a function. Correct the import path."
            )
        return source

    @pydantic.field_validator("scored_steps", mode="before")
    @classmethod
    def _check_steps(cls, given: Any) -> Any:
        if given not in _SELECTIONS and (type(given) is not int or given < 1):
            raise ValueError(
                f"got {excerpt(given)}, expected one of {_SELECTIONS}, or an integer k > 0 for "
                "every k-th step. Choose one."
            )
        return given


def path_of(function: Callable[..., Any]) -> str:
    """Return the import path of a frame source.

    Raises:
        ValueError: env runners cannot import the function.
    """
    path = import_path_of(function)
    try:
        found = load_object(path, "frames.source")
    except ConfigError:
        found = None
    if found is not function:
        raise ValueError(
            f"got {excerpt(function)}, which env runners cannot import as {path}, expected a "
            "function at the top level of a module. Move it there."
        )
    return path
