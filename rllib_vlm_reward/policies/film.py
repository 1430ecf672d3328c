"""The encoder of frame and goal: FiLM with CLIP's text embedding."""

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
    """Computes features from a frame and a goal, for all goal-conditioned modules.

    The encoder computes features for each patch of the frame. The goal then scales and shifts these
    features (FiLM, Perez et al., arXiv 1709.07871). So the network can answer "does this patch show
    the goal's object?" with one product. The class has the interface of RLlib's encoders: it takes
    a batch and returns ``{"encoder_out": float32 [..., hidden]}``. The leading dimensions are those
    of the batch: ``[B]``, or ``[B, T]`` for a policy with memory.

    Args:
        space: ``Dict(observation=uint8 [H, W, C], goal=float32 [D])``, as
            :class:`~rllib_vlm_reward.connectors.GoalEmbedding` gives it. C is 3, or 3 k with k
            stacked frames.
        model_config: ``patch_size`` (default 8; must divide H and W), ``channels`` (32), ``hidden``
            (128).
        action_dim: A, to encode actions float32 ``[..., A]`` too, as the Q networks of SAC with
            continuous actions need; 0 encodes the observation only.

    Raises:
        GoalError: the observation space has another form.
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

    def __init__(
        self, space: gym.Space[Any], model_config: Mapping[str, Any], *, action_dim: int = 0
    ) -> None:
        super().__init__()
        frame, goal = _parts(space)
        patch = model_config.get("patch_size", 8)
        channels = model_config.get("channels", 32)
        hidden = model_config.get("hidden", HIDDEN)
        height, width, depth = frame.shape
        if height % patch or width % patch:
            raise ValueError(
                f"patch_size: got {patch}, expected a divisor of the frame's {height} × {width} "
                "pixels. Set model_config={'patch_size': ...}, or resize the frame."
            )
        tiles = (height // patch) * (width // patch)
        self.action_dim = action_dim
        self.patches = nn.Conv2d(depth, channels, patch, stride=patch)
        self.film = nn.Linear(goal.shape[0], 2 * channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.trunk = nn.Sequential(
            nn.Linear(channels * tiles + goal.shape[0] + action_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the features of ``batch["obs"]``, float32 ``[..., hidden]``."""
        image, goal = _inputs(batch[Columns.OBS])
        leading, goal = goal.shape[:-1], goal.flatten(0, -2)
        patches = self.patches(image)
        scale, shift = self.film(goal)[:, :, None, None].chunk(2, dim=1)
        modulated = torch.relu(self.mix(torch.relu(patches * (1 + scale) + shift)))
        parts = [modulated.flatten(1), goal]
        if self.action_dim:
            parts.append(batch[Columns.ACTIONS].float().flatten(0, -2))
        return {ENCODER_OUT: self.trunk(torch.cat(parts, dim=1)).unflatten(0, leading)}


def _inputs(observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the image float32 ``[N, C, H, W]`` in [-1, 1] and the goal float32 ``[..., D]``."""
    frames, goal = observation["observation"], observation["goal"].float()
    image = frames.flatten(0, -4).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    # The entries of a unit vector get smaller as D grows; torch's initialisation expects inputs
    # with variance 1.
    return image, goal * goal.shape[-1] ** 0.5


def _parts(space: gym.Space[Any]) -> tuple[gym.spaces.Box, gym.spaces.Box]:
    if not isinstance(space, gym.spaces.Dict) or set(space) != {"observation", "goal"}:
        raise GoalError(
            f"goal-conditioned module: got the observation space {space}, expected a Dict of "
            "'observation' and 'goal'. Set goal_embedding: true under vlm_reward."
        )
    frame, goal = space["observation"], space["goal"]
    if not isinstance(frame, gym.spaces.Box) or len(frame.shape) != 3 or frame.dtype != np.uint8:
        raise GoalError(
            f"goal-conditioned module: got the frame space {frame}, expected uint8 [H, W, C]. Give "
            "the policy frames, or write your own RLModule."
        )
    assert isinstance(goal, gym.spaces.Box)
    return frame, goal
