"""A policy that is told its goal in words: FiLM on what it sees, by CLIP's text embedding."""

from typing import Any

import gymnasium as gym
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from rllib_vlm_reward.errors import GoalError

__all__ = ["GoalConditionedModule"]


class GoalConditionedModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """One agent for many goals: actor and critic on frame and goal.

    Observation: ``{"observation": uint8 [H, W, 3], "goal": float32 [D]}``, as
    :class:`~rllib_vlm_reward.connectors.GoalEmbedding` makes it. Patches of the frame become
    features that the goal scales and shifts (FiLM, Perez et al., arXiv 1709.07871), so "is this
    patch what I was told to find?" is a product, not something that a deep network must discover.

    ``model_config``: ``patch_size`` (8; must divide H and W), ``channels`` (32), ``hidden`` (128).

    Example:
        >>> import numpy as np
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
        frame, goal = _spaces(self.observation_space)
        settings = self.model_config or {}
        patch = settings.get("patch_size", 8)
        channels = settings.get("channels", 32)
        hidden = settings.get("hidden", 128)
        height, width, depth = frame.shape
        if height % patch or width % patch:
            raise ValueError(
                f"patch_size is {patch}, expected a divisor of the frame's {height} × {width} "
                "pixels. Set model_config={'patch_size': ...}, or resize the frame."
            )
        tiles = (height // patch) * (width // patch)
        self.patches = nn.Conv2d(depth, channels, patch, stride=patch)
        self.film = nn.Linear(goal.shape[0], 2 * channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.trunk = nn.Sequential(
            nn.Linear(channels * tiles + goal.shape[0], hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.action = nn.Linear(hidden, int(self.action_space.n))
        self.value = nn.Linear(hidden, 1)
        for head, gain in ((self.action, 0.01), (self.value, 1.0)):
            nn.init.orthogonal_(head.weight, gain)
            nn.init.zeros_(head.bias)

    def _features(self, batch: dict[str, Any]) -> Tensor:
        frame, goal = batch[Columns.OBS]["observation"], batch[Columns.OBS]["goal"].float()
        # A unit vector's entries shrink with D; torch's initialisation expects a variance of 1.
        goal = goal * goal.shape[1] ** 0.5
        seen = self.patches(frame.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
        scale, shift = self.film(goal)[:, :, None, None].chunk(2, dim=1)
        matched = torch.relu(self.mix(torch.relu(seen * (1 + scale) + shift)))
        features: Tensor = self.trunk(torch.cat([matched.flatten(1), goal], dim=1))
        return features

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        features = self._features(batch)
        return {Columns.EMBEDDINGS: features, Columns.ACTION_DIST_INPUTS: self.action(features)}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Return the value of each observation, float32 ``[B]``."""
        features = self._features(batch) if embeddings is None else embeddings
        values: Tensor = self.value(features).squeeze(-1)
        return values


def _spaces(space: gym.Space[Any]) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    if not isinstance(space, gym.spaces.Dict) or set(space) != {"observation", "goal"}:
        raise GoalError(
            f"GoalConditionedModule: got the observation space {space}, expected a Dict of "
            "'observation' and 'goal'. Set goal_embedding: true in the VLM reward's config."
        )
    frame, goal = space["observation"], space["goal"]
    if not isinstance(frame, gym.spaces.Box) or len(frame.shape) != 3:
        raise GoalError(f"GoalConditionedModule: got the frame space {frame}, expected [H, W, 3].")
    assert isinstance(goal, gym.spaces.Box)
    return frame, goal
