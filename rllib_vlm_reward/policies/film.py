"""What a policy sees of a frame once it knows its goal: FiLM by CLIP's text embedding."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from torch import Tensor, nn

from rllib_vlm_reward.errors import GoalError

__all__ = ["HIDDEN", "FilmEncoder"]

HIDDEN = 128


class FilmEncoder(nn.Module):
    """Features of a frame and a goal, as every goal-conditioned module here begins.

    Patches of the frame become features that the goal scales and shifts (FiLM, Perez et al., arXiv
    1709.07871), so "is this patch what I was told to find?" is a product, not something that a
    deep network must discover. It stands where RLlib's modules expect an encoder: it takes their
    batch and answers ``{"encoder_out": float32 [B, hidden]}``.

    Args:
        space: ``Dict(observation=uint8 [H, W, 3], goal=float32 [D])``, as
            :class:`~rllib_vlm_reward.connectors.GoalEmbedding` makes it.
        settings: ``patch_size`` (8; must divide H and W), ``channels`` (32), ``hidden`` (128).

    Raises:
        GoalError: the space is of another kind.
        ValueError: ``patch_size`` does not divide H and W.

    Example:
        >>> import numpy as np
        >>> space = gym.spaces.Dict(
        ...     observation=gym.spaces.Box(0, 255, (56, 56, 3), np.uint8),
        ...     goal=gym.spaces.Box(-1, 1, (64,), np.float32),
        ... )
        >>> batch = {"observation": torch.zeros(2, 56, 56, 3), "goal": torch.zeros(2, 64)}
        >>> FilmEncoder(space, {"hidden": 16})({"obs": batch})["encoder_out"].shape
        torch.Size([2, 16])
    """

    def __init__(self, space: gym.Space[Any], settings: Mapping[str, Any]) -> None:
        super().__init__()
        frame, goal = _parts(space)
        patch = settings.get("patch_size", 8)
        channels = settings.get("channels", 32)
        hidden = settings.get("hidden", HIDDEN)
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

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the features of ``batch["obs"]``, float32 ``[B, hidden]``."""
        frame, goal = batch[Columns.OBS]["observation"], batch[Columns.OBS]["goal"].float()
        # A unit vector's entries shrink with D; torch's initialisation expects a variance of 1.
        goal = goal * goal.shape[1] ** 0.5
        seen = self.patches(frame.permute(0, 3, 1, 2).float() / 127.5 - 1.0)
        scale, shift = self.film(goal)[:, :, None, None].chunk(2, dim=1)
        matched = torch.relu(self.mix(torch.relu(seen * (1 + scale) + shift)))
        return {ENCODER_OUT: self.trunk(torch.cat([matched.flatten(1), goal], dim=1))}


def _parts(space: gym.Space[Any]) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    if not isinstance(space, gym.spaces.Dict) or set(space) != {"observation", "goal"}:
        raise GoalError(
            f"goal-conditioned module: got the observation space {space}, expected a Dict of "
            "'observation' and 'goal'. Set goal_embedding: true in the VLM reward's config."
        )
    frame, goal = space["observation"], space["goal"]
    if not isinstance(frame, gym.spaces.Box) or len(frame.shape) != 3 or frame.dtype != np.uint8:
        raise GoalError(
            f"goal-conditioned module: got the frame space {frame}, expected uint8 [H, W, 3]. Give "
            "the policy frames, or an RLModule of your own."
        )
    assert isinstance(goal, gym.spaces.Box)
    return frame, goal
