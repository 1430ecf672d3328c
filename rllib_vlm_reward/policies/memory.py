"""An LSTM after the encoder, so that the policy can remember its episode."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from torch import Tensor, nn

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies.film import FilmEncoder
from rllib_vlm_reward.policies.sizes import Sizes

__all__ = ["RecurrentEncoder", "has_memory", "make_encoder"]


class RecurrentEncoder(nn.Module):
    """Computes features from all frames of an episode so far: an LSTM on a :class:`FilmEncoder`.

    The encoder takes a batch as RLlib gives it to a stateful RLModule, with ``obs``
    ``[B, T, ...]`` and ``state_in``, and returns ``encoder_out`` float32 ``[B, T, features]`` and
    ``state_out``. In an env runner T is 1. In a learner T is ``max_seq_len``; the steps after the
    end of an episode are padding and do not change the features of earlier steps.

    Args:
        space: see :class:`FilmEncoder`.
        model_config: the settings of :class:`FilmEncoder`, and ``lstm_size`` (default 128).

    Attributes:
        features: the number of features: ``lstm_size``, and the scores of ``spatial_actions``.

    Example:
        >>> import numpy as np
        >>> space = gym.spaces.Dict(
        ...     observation=gym.spaces.Box(0, 255, (56, 56, 3), np.uint8),
        ...     goal=gym.spaces.Box(-1, 1, (64,), np.float32),
        ... )
        >>> encoder = RecurrentEncoder(space, {"lstm_size": 32})
        >>> state = {name: value[None] for name, value in encoder.initial_state().items()}
        >>> obs = {"observation": torch.zeros(1, 5, 56, 56, 3), "goal": torch.zeros(1, 5, 64)}
        >>> encoder({"obs": obs, "state_in": state})["encoder_out"].shape
        torch.Size([1, 5, 32])
    """

    def __init__(self, space: gym.Space[Any], model_config: Mapping[str, Any]) -> None:
        super().__init__()
        self.lstm_size = Sizes.of(model_config).lstm_size
        self.film = FilmEncoder(space, model_config)
        self.lstm = nn.LSTM(self.film.features, self.lstm_size, batch_first=True)
        self.features = self.lstm_size + self.film.num_places

    def initial_state(self) -> dict[str, Tensor]:
        """Return the state before an episode's first frame: zeros, float32 ``[lstm_size]``."""
        return {name: torch.zeros(self.lstm_size) for name in ("hidden", "cell")}

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features of each step, and the state after the last step."""
        state = batch[Columns.STATE_IN]
        before = tuple(state[name][None].contiguous() for name in ("hidden", "cell"))
        seen = self.film(batch)[ENCODER_OUT]
        remembered, (hidden, cell) = self.lstm(seen, before)
        scores = seen[..., seen.shape[-1] - self.film.num_places :]
        features = torch.cat([remembered, scores], dim=-1)
        return {ENCODER_OUT: features, Columns.STATE_OUT: {"hidden": hidden[0], "cell": cell[0]}}


def has_memory(model_config: Mapping[str, Any]) -> bool:
    """Return whether a module's ``model_config`` sets an LSTM.

    Raises:
        ConfigError: ``memory`` has another value, or RLlib's key ``use_lstm`` is set.

    Example:
        >>> has_memory({"memory": "lstm"}), has_memory({})
        (True, False)
        >>> has_memory({"memory": "gru"})
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.ConfigError: model_config: got memory 'gru', expected 'lstm' or \
None. Correct it, or write your own RLModule.
    """
    if model_config.get("use_lstm"):
        raise ConfigError(
            "model_config: got use_lstm, which only RLlib's default modules read. Set memory: lstm "
            "and lstm_size instead."
        )
    memory = model_config.get("memory")
    if memory not in (None, "lstm"):
        raise ConfigError(
            f"model_config: got memory {memory!r}, expected 'lstm' or None. Correct it, or write "
            "your own RLModule."
        )
    return memory is not None


def make_encoder(
    space: gym.Space[Any], model_config: Mapping[str, Any]
) -> tuple[FilmEncoder | RecurrentEncoder, int]:
    """Create the encoder for a ``model_config``; return it and its number of features."""
    if has_memory(model_config):
        recurrent = RecurrentEncoder(space, model_config)
        return recurrent, recurrent.features
    encoder = FilmEncoder(space, model_config)
    return encoder, encoder.features
