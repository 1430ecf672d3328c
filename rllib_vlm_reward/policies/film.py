"""The encoder of frame, goal and map: FiLM with CLIP's text embedding."""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from torch import Tensor, nn
from torch.nn.functional import interpolate

from rllib_vlm_reward.errors import ConfigError, GoalError
from rllib_vlm_reward.policies.goal_code import make_goal_code, with_mean_square_1
from rllib_vlm_reward.policies.sizes import Sizes
from rllib_vlm_reward.policies.spatial import PlaceScores, grid_of

__all__ = ["FilmEncoder"]


class FilmEncoder(nn.Module):
    """Computes features from a frame and a goal, for all goal-conditioned modules.

    The encoder computes features for each patch of the frame. The goal then scales and shifts these
    features (FiLM, Perez et al., arXiv 1709.07871). So the network can answer "does this patch show
    the goal's object?" with one product. A map of where the goal is becomes one more channel of the
    frame, enlarged to the frame's size. The class has the interface of RLlib's encoders: it takes a
    batch and returns ``{"encoder_out": float32 [..., features]}``. The leading dimensions are those
    of the batch: ``[B]``, or ``[B, T]`` for a policy with memory.

    Args:
        space: ``Dict(observation=uint8 [H, W, C], goal=float32 [D])``, as
            :class:`~rllib_vlm_reward.connectors.GoalEmbedding` gives it. C is 3, or 3 k with k
            stacked frames. With ``goal_map`` there is also ``map=float32 [h, w, 1]``.
        model_config: ``patch_size`` (default 8; must divide H and W), ``channels`` (32), ``hidden``
            (128). A list of patch sizes, such as ``[4, 2]``, reads a patch of 8 pixels as 2 × 2
            parts of 4 pixels, with a layer for each. With ``goal_code``, the goal passes a
            :class:`~rllib_vlm_reward.policies.goal_code.GoalCode` first. ``spatial_actions`` adds
            the scores of places to the features, as the last ones, see :mod:`.spatial`.
        action_dim: A, to encode actions float32 ``[..., A]`` too, as the Q networks of SAC with
            continuous actions need; 0 encodes the observation only.

    Attributes:
        num_places: the number of places that get a score.
        features: the number of features: ``hidden``, and the scores of places.

    Raises:
        ConfigError: a size is no whole number of at least 1, the patch does not divide H and W, or
            ``spatial_actions`` has another form, or more places than patches.
        GoalError: the observation space has another form.

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
        frame, goal, maps = _parts(space)
        sizes = Sizes.of(model_config)
        patch, channels, hidden = math.prod(sizes.layers), sizes.channels, sizes.hidden
        height, width, depth = frame.shape
        depth += maps
        if height % patch or width % patch:
            raise ConfigError(
                f"patch_size: got {sizes.patch_size}, expected a divisor of the frame's {height} × "
                f"{width} pixels. Set model_config={{'patch_size': ...}}, or resize the frame."
            )
        rows, columns = height // patch, width // patch
        self.action_dim = action_dim
        stem: list[nn.Module] = []
        *first, last = sizes.layers
        for part in first:
            stem += [nn.Conv2d(depth, channels, part, stride=part), nn.ReLU()]
            depth = channels
        self.stem = nn.Sequential(*stem)
        self.patches = nn.Conv2d(depth, channels, last, stride=last)
        self.goal_code = make_goal_code(goal.shape[0], model_config)
        self.film = nn.Linear(goal.shape[0], 2 * channels)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.trunk = nn.Sequential(
            nn.Linear(channels * rows * columns + goal.shape[0] + action_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        grid = grid_of(model_config)
        self.places = None if grid is None else PlaceScores(channels, (rows, columns), grid)
        self.num_places = 0 if grid is None else math.prod(grid)
        self.features = hidden + self.num_places

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the features of ``batch["obs"]``, float32 ``[..., features]``."""
        goal = _goal(batch[Columns.OBS])
        flat = self.goal_code(goal.flatten(0, -2))
        patches = self._patch_features(_pixels(batch[Columns.OBS]), flat)
        parts = [patches.flatten(1), flat]
        if self.action_dim:
            parts.append(batch[Columns.ACTIONS].float().flatten(0, -2))
        features = self.trunk(torch.cat(parts, dim=1))
        if self.places is not None:
            features = torch.cat([features, self.places(patches)], dim=1)
        return {ENCODER_OUT: features.unflatten(0, goal.shape[:-1])}

    def _patch_features(self, image: Tensor, goal: Tensor) -> Tensor:
        """Return the features of each patch, given the goal: float32 ``[N, channels, h, w]``."""
        patches = self.patches(self.stem(image))
        scale, shift = self.film(goal)[:, :, None, None].chunk(2, dim=1)
        return torch.relu(self.mix(torch.relu(patches * (1 + scale) + shift)))


def _pixels(observation: Mapping[str, Tensor]) -> Tensor:
    """Return the image in [-1, 1], and the map in [0, 1] behind it: float32 ``[N, C, H, W]``."""
    image = torch.div(_channels_first(observation["observation"]), 127.5)
    image.sub_(1.0)  # one array less than with an operator each
    if "map" not in observation:
        return image
    enlarged = interpolate(_channels_first(observation["map"]).float(), size=image.shape[2:])
    return torch.cat([image, enlarged], dim=1)


def _channels_first(frames: Tensor) -> Tensor:
    """Return ``[..., H, W, C]`` as ``[N, C, H, W]``."""
    return frames.flatten(0, -4).permute(0, 3, 1, 2)


def _goal(observation: Mapping[str, Tensor]) -> Tensor:
    """Return the goal, float32 ``[..., D]``, with a mean square of 1."""
    return with_mean_square_1(observation["goal"].float())


def _parts(space: gym.Space[Any]) -> tuple[gym.spaces.Box, gym.spaces.Box, int]:
    """Return the spaces of frame and goal, and the number of maps, 0 or 1."""
    needed = {"observation", "goal"}
    if not isinstance(space, gym.spaces.Dict) or set(space) - {"map"} != needed:
        raise GoalError(
            f"goal-conditioned module: got the observation space {space}, expected a Dict of "
            "'observation' and 'goal', and of 'map' with goal_map. Set goal_embedding: true under "
            "vlm_reward."
        )
    frame, goal = space["observation"], space["goal"]
    if not isinstance(frame, gym.spaces.Box) or len(frame.shape) != 3 or frame.dtype != np.uint8:
        raise GoalError(
            f"goal-conditioned module: got the frame space {frame}, expected uint8 [H, W, C]. Give "
            "the policy frames, or write your own RLModule."
        )
    assert isinstance(goal, gym.spaces.Box)
    return frame, goal, len(space) - len(needed)
