"""The goal-conditioned policy with actor and critic, for PPO, APPO and IMPALA."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.models.base import ENCODER_OUT
from ray.rllib.core.rl_module.apis import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    InferenceOnlyAPI,
    TargetNetworkAPI,
)
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies.memory import RecurrentEncoder, has_memory, make_encoder
from rllib_vlm_reward.policies.sizes import Sizes
from rllib_vlm_reward.policies.spatial import SpatialHead, grid_of, num_other_actions

__all__ = ["GoalConditionedModule", "is_flat_box"]

MAX_LOG_STD = 20.0  # the limit of RLlib's default modules


class GoalConditionedModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """A policy for many goals: an actor and a critic with shared features.

    Use it with PPO, APPO or IMPALA. Only APPO's learner uses the target networks.

    The observation is ``{"observation": uint8 [H, W, C], "goal": float32 [D]}``, as
    :class:`~rllib_vlm_reward.connectors.GoalEmbedding` gives it. The action space is
    ``Discrete(A)``, or a ``Box`` of floats ``[A]``, for which the actor returns A means and A
    logarithms of standard deviations.

    ``model_config`` has these settings:

    * ``patch_size``, ``channels``, ``hidden``: see
      :class:`~rllib_vlm_reward.policies.film.FilmEncoder`;
    * ``memory``: ``lstm`` adds an LSTM, with ``lstm_size`` (default 128) features and
      ``max_seq_len`` (20) steps through which the learner propagates gradients;
    * ``goal_code``: the goal passes a bottleneck of discrete codes, see
      :class:`~rllib_vlm_reward.policies.goal_code.GoalCodeConfig`;
    * ``spatial_actions``: ``[rows, columns]`` says that the first actions are places of the frame,
      row by row, as taps on a screen are, see :mod:`~rllib_vlm_reward.policies.spatial`;
    * ``stacked_frames``: k gives the policy the last k frames at once, see
      :class:`~rllib_vlm_reward.connectors.stacked_frames.StackedFrames`.

    Raises:
        ConfigError: the action space, ``memory`` or ``goal_code`` is not supported, a size is no
            whole number of at least 1, or ``spatial_actions`` or ``patch_size`` does not fit the
            actions, the patches or the frame.
        GoalError: the observation space has another form.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> import torch
        >>> module = GoalConditionedModule(
        ...     observation_space=gym.spaces.Dict(
        ...         observation=gym.spaces.Box(0, 255, (56, 56, 3), np.uint8),
        ...         goal=gym.spaces.Box(-1, 1, (64,), np.float32),
        ...     ),
        ...     action_space=gym.spaces.Discrete(4),
        ... )
        >>> batch = {"observation": torch.zeros(2, 56, 56, 3), "goal": torch.zeros(2, 64)}
        >>> module.forward_inference({"obs": batch})["action_dist_inputs"].shape
        torch.Size([2, 4])
    """

    model_config: dict[str, Any]

    def setup(self) -> None:
        """Build the network from ``self.model_config`` (RLlib's hook)."""
        settings = dict(self.model_config or {})
        if has_memory(settings):
            settings["max_seq_len"] = Sizes.of(settings).max_seq_len
        # RLlib 2.60's learner connectors read max_seq_len from here, without a default.
        self.model_config = settings
        self.encoder, features = make_encoder(self.observation_space, settings)
        grid = grid_of(settings)
        if grid is None:
            self.action: nn.Module = _linear(features, _num_logits(self.action_space), gain=0.01)
        else:
            others = num_other_actions(grid, self.action_space)
            dense = _linear(features, others, gain=0.01) if others else None
            self.action = SpatialHead(math.prod(grid), dense)
        self.value = _linear(features, 1, gain=1.0)

    def get_initial_state(self) -> dict[str, Tensor]:
        """Return the LSTM's state before the first step, without a batch; {} without an LSTM."""
        if isinstance(self.encoder, RecurrentEncoder):
            return self.encoder.initial_state()
        return {}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        encoded = self.encoder(batch)
        features = encoded.pop(ENCODER_OUT)
        logits = self._logits(self.action(features))
        # The rest of the encoder's output is the state of the LSTM, if there is one.
        return {Columns.EMBEDDINGS: features, Columns.ACTION_DIST_INPUTS: logits, **encoded}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Return the value of each observation, float32 ``[B]``, or ``[B, T]`` with an LSTM."""
        features = self.encoder(batch)[ENCODER_OUT] if embeddings is None else embeddings
        values: Tensor = self.value(features).squeeze(-1)
        return values

    def make_target_networks(self) -> None:
        """Copy encoder and actor (APPO's hook)."""
        self.target_encoder = make_target_network(self.encoder)
        self.target_action = make_target_network(self.action)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return the pairs (network, target network) of encoder and actor."""
        return [(self.encoder, self.target_encoder), (self.action, self.target_action)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the target networks' inputs of the action distribution, float32 ``[..., n]``."""
        logits = self._logits(self.target_action(self.target_encoder(batch)[ENCODER_OUT]))
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: logits}

    def get_non_inference_attributes(self) -> list[str]:
        """Return the names of the attributes that inference does not need."""
        return ["value", "target_encoder", "target_action"]

    def _logits(self, logits: Tensor) -> Tensor:
        """Clip the logarithms of the standard deviations of continuous actions."""
        if isinstance(self.action_space, gym.spaces.Discrete):
            return logits
        means, log_stds = logits.chunk(2, dim=-1)
        return torch.cat([means, log_stds.clamp(-MAX_LOG_STD, MAX_LOG_STD)], dim=-1)


def is_flat_box(space: gym.Space[Any]) -> bool:
    """Return whether the actions are vectors of floats.

    Example:
        >>> is_flat_box(gym.spaces.Box(-1, 1, (2,))), is_flat_box(gym.spaces.Discrete(2))
        (True, False)
    """
    return (
        isinstance(space, gym.spaces.Box)
        and len(space.shape) == 1
        and np.issubdtype(space.dtype, np.floating)
    )


def _linear(features: int, outputs: int, *, gain: float) -> nn.Linear:
    layer = nn.Linear(features, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _num_logits(space: gym.Space[Any]) -> int:
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if is_flat_box(space):
        return 2 * space.shape[0]  # type: ignore[index]
    raise ConfigError(
        f"GoalConditionedModule: got the action space {space}, expected Discrete or a "
        "one-dimensional Box of floats. Flatten the actions in the env, or write your own RLModule."
    )
