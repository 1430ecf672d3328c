"""The scores of what leads to the frame's goal."""

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.reward_model.readouts.base import ScoreReadout

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HintScores"]


@dataclasses.dataclass(frozen=True)
class HintScores(ScoreReadout):
    """The scores of the hints of the frame's goal.

    Attributes:
        candidates: the indices of the C statements in the scorer's goals.
        of_goals: for each of the scorer's goals, the places of its hints in ``candidates``.

    Example:
        >>> import torch
        >>> hints = HintScores(candidates=(2, 3, 4), of_goals=((2, 0), (1,)))
        >>> hints.names
        ('hints/0', 'hints/1')
        >>> scores = torch.tensor([[0.125, 0.25, 0.5], [0.125, 0.25, 0.5]])
        >>> hints(scores, torch.tensor([0, 1]))
        tensor([[0.5000, 0.1250],
                [0.2500, 0.0000]])
    """

    kind: ClassVar[str] = "hints"

    of_goals: tuple[tuple[int, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """``hints/0`` and so on, as many as the goal with the most hints has."""
        return tuple(f"hints/{place}" for place in range(self._places.shape[1]))

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """The places of each goal's hints, int64 ``[G, k]``; -1 where a goal has fewer."""
        places = np.full((len(self.of_goals), max(map(len, self.of_goals))), -1, np.int64)
        for goal, own in enumerate(self.of_goals):
            places[goal, : len(own)] = own
        return places

    def __call__(self, scores: "Tensor", goals: "Tensor") -> "Tensor":
        """Return the scores of the hints of B frames.

        Args:
            scores: float32 ``[B, C]``: the score of each frame for each candidate.
            goals: int64 ``[B]``, the index of each frame's goal in the scorer's goals.

        Returns:
            float32 ``[B, k]``; 0 where a goal has fewer hints.
        """
        import torch

        places = torch.from_numpy(self._places).to(scores.device)[goals]
        return torch.where(places >= 0, scores.gather(1, places.clamp(min=0)), 0.0)
