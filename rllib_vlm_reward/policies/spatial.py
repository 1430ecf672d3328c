"""Actions at places of the frame, such as taps on a screen: all places share their weights."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from rllib_vlm_reward.errors import ConfigError

__all__ = ["PlaceScores", "SpatialHead", "grid_of", "num_other_actions"]

Grid = tuple[int, int]
"""Number of rows and columns of the places, which cover the frame."""


class PlaceScores(nn.Module):
    """Computes a score for each place of a grid from the features of its patches.

    A place has the mean features of the patches below it. The same small network turns them into
    a score at all places, so what the policy learns at one place holds at all others.

    Args:
        channels: number of features of a patch.
        patches: number of rows and columns of the patches.
        grid: number of rows and columns of the places.

    Raises:
        ConfigError: there are more places than patches in a direction, so that two places would
            always have the same score.

    Example:
        >>> PlaceScores(32, (16, 9), (8, 4))(torch.zeros(2, 32, 16, 9)).shape
        torch.Size([2, 32])
    """

    def __init__(self, channels: int, patches: Grid, grid: Grid) -> None:
        super().__init__()
        if grid[0] > patches[0] or grid[1] > patches[1]:
            raise ConfigError(
                f"spatial_actions: got {list(grid)}, expected at most {list(patches)}, the rows "
                "and columns of the frame's patches. Set a smaller patch_size, or fewer places."
            )
        self.grid = grid
        self.mix = nn.Conv2d(channels, channels, 1)
        self.score = nn.Conv2d(channels, 1, 1)
        with torch.no_grad():  # so that a policy begins with nearly the same chance for each place
            for parameter in self.score.parameters():
                parameter.mul_(0.01)

    def forward(self, patches: Tensor) -> Tensor:
        """Return the scores of features float32 ``[N, channels, h, w]``, row by row ``[N, P]``."""
        mixed = torch.relu(self.mix(adaptive_avg_pool2d(patches, self.grid)))
        scores: Tensor = self.score(mixed).flatten(1)
        return scores


class SpatialHead(nn.Module):
    """Returns a number for each action: the scores of places, then those of the other actions.

    Args:
        places: P, the number of places, whose scores are the last of the features.
        others: the network that computes the numbers of the other actions from all features; None
            if there are no others.

    Example:
        >>> head = SpatialHead(32, nn.Linear(128 + 32, 5))
        >>> head(torch.zeros(2, 128 + 32)).shape
        torch.Size([2, 37])
    """

    def __init__(self, places: int, others: nn.Module | None) -> None:
        super().__init__()
        self.places, self.others = places, others

    def forward(self, features: Tensor) -> Tensor:
        """Return float32 ``[..., A]`` for features float32 ``[..., F]``."""
        scores = features[..., -self.places :]
        return scores if self.others is None else torch.cat([scores, self.others(features)], dim=-1)


def grid_of(model_config: Mapping[str, Any]) -> Grid | None:
    """Return the setting ``spatial_actions`` of a module's ``model_config``, or None without it.

    Raises:
        ConfigError: it is not two positive numbers.

    Example:
        >>> grid_of({"spatial_actions": [8, 4]}), grid_of({})
        ((8, 4), None)
    """
    given = model_config.get("spatial_actions")
    if given is None:
        return None
    numbers = list(given) if isinstance(given, list | tuple) else []
    if len(numbers) != 2 or not all(type(number) is int and number > 0 for number in numbers):
        raise ConfigError(
            f"model_config: got spatial_actions {given!r}, expected the numbers of rows and "
            "columns of the places, such as [8, 4]. Correct it, or remove it."
        )
    return numbers[0], numbers[1]


def num_other_actions(grid: Grid, space: gym.Space[Any]) -> int:
    """Return the number of actions that are not places.

    Raises:
        ConfigError: the action space is not ``Discrete``, or has fewer actions than places.

    Example:
        >>> num_other_actions((8, 4), gym.spaces.Discrete(37))
        5
    """
    places = grid[0] * grid[1]
    if not isinstance(space, gym.spaces.Discrete) or space.n < places:
        raise ConfigError(
            f"spatial_actions: got {list(grid)} with the action space {space}, expected Discrete "
            f"with at least {places} actions, of which the first are the places, row by row. "
            "Correct the numbers of rows and columns, or remove spatial_actions."
        )
    return int(space.n) - places
