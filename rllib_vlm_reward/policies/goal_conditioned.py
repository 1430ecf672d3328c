"""A policy that is told its goal in words: actor and critic, for PPO, APPO and IMPALA."""

from typing import Any

import gymnasium as gym
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

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.policies.film import HIDDEN, FilmEncoder

__all__ = ["GoalConditionedModule"]


class GoalConditionedModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """One agent for many goals: actor and critic on a :class:`FilmEncoder`'s features.

    For PPO, APPO and IMPALA; of its target networks only APPO's learner makes use.

    Observation: ``{"observation": uint8 [H, W, 3], "goal": float32 [D]}``, as
    :class:`~rllib_vlm_reward.connectors.GoalEmbedding` makes it. ``model_config``: the settings
    of :class:`~rllib_vlm_reward.policies.film.FilmEncoder`.

    Raises:
        GoalError: the actions are not discrete, or the observation is another.

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

    def setup(self) -> None:
        """Build the network from ``self.model_config`` (RLlib's hook)."""
        settings = self.model_config or {}
        if not isinstance(self.action_space, gym.spaces.Discrete):
            raise GoalError(
                f"GoalConditionedModule: got the action space {self.action_space}, expected "
                "Discrete. Give an RLModule of your own, told the goal in obs['goal']."
            )
        self.encoder = FilmEncoder(self.observation_space, settings)
        hidden = settings.get("hidden", HIDDEN)
        self.action = nn.Linear(hidden, int(self.action_space.n))
        self.value = nn.Linear(hidden, 1)
        for head, gain in ((self.action, 0.01), (self.value, 1.0)):
            nn.init.orthogonal_(head.weight, gain)
            nn.init.zeros_(head.bias)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        features = self.encoder(batch)[ENCODER_OUT]
        return {Columns.EMBEDDINGS: features, Columns.ACTION_DIST_INPUTS: self.action(features)}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Return the value of each observation, float32 ``[B]``."""
        features = self.encoder(batch)[ENCODER_OUT] if embeddings is None else embeddings
        values: Tensor = self.value(features).squeeze(-1)
        return values

    def make_target_networks(self) -> None:
        """Copy encoder and actor (APPO's hook)."""
        self.target_encoder = make_target_network(self.encoder)
        self.target_action = make_target_network(self.action)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return (network, its target) of encoder and actor."""
        return [(self.encoder, self.target_encoder), (self.action, self.target_action)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the action logits of the target networks, float32 ``[B, actions]``."""
        features = self.target_encoder(batch)[ENCODER_OUT]
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.target_action(features)}

    def get_non_inference_attributes(self) -> list[str]:
        """Return what an env runner's copy goes without."""
        return ["value", "target_encoder", "target_action"]
