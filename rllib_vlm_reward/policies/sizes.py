"""The sizes in ``model_config`` by which the modules of this package build their networks."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from rllib_vlm_reward.settings import Section, validated

__all__ = ["Sizes"]

_Size = Annotated[int, Field(ge=1)]


class Sizes(Section, place="policy.model_config"):
    """The sizes of a network; RLlib's ``model_config`` may have other keys beside them.

    Attributes:
        patch_size: side of a patch, in pixels; or a list of sides, with a layer for each.
        channels: number of features of a patch.
        hidden: number of features of the frame.
        lstm_size: number of features of the LSTM.
        max_seq_len: number of steps through which the learner propagates gradients.

    Raises:
        pydantic.ValidationError: a value is no whole number, or is less than 1.
    """

    patch_size: _Size | Annotated[tuple[_Size, ...], Field(min_length=1)] = 8
    channels: _Size = 32
    hidden: _Size = 128
    lstm_size: _Size = 128
    max_seq_len: _Size = 20  # RLlib's default, which it does not write into a model_config

    @classmethod
    def of(cls, model_config: Mapping[str, Any]) -> "Sizes":
        """Return the sizes that a ``model_config`` sets, and the defaults of the others.

        Raises:
            ConfigError: see the class.

        Example:
            >>> Sizes.of({"hidden": 64, "memory": "lstm"}).hidden
            64
            >>> Sizes.of({"hidden": 0})
            Traceback (most recent call last):
            ...
            rllib_vlm_reward.errors.ConfigError: model_config: hidden: got 0, expected greater \
than or equal to 1. Correct it.
        """
        given = {key: value for key, value in model_config.items() if key in cls.model_fields}
        return validated(cls, given, "model_config")

    @property
    def layers(self) -> tuple[int, ...]:
        """The side of a patch in each layer."""
        return (self.patch_size,) if isinstance(self.patch_size, int) else self.patch_size
