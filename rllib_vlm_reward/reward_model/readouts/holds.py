"""Which of many goals hold in a frame."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.reward_model.readouts.base import ScoreReadout

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Holds"]


@dataclasses.dataclass(frozen=True)
class Holds(ScoreReadout):
    """The best goals whose score in a frame exceeds β, whatever the frame's own goal is.

    Attributes:
        candidates: the indices of the C goals that are looked for in the scorer's goals.
        threshold: β: a goal holds if its score exceeds it.
        most: k, how many goals are named at most; C if that is less.

    Example:
        >>> import torch
        >>> holds = Holds(candidates=(0, 2, 7), threshold=0.5, most=2)
        >>> holds.names
        ('holds/0/goal', 'holds/0/score', 'holds/1/goal', 'holds/1/score')
        >>> holds(torch.tensor([[0.125, 0.25, 0.75]]), torch.tensor([0]))
        tensor([[ 7.0000,  0.7500, -1.0000,  0.0000]])
    """

    kind: ClassVar[str] = "holds"

    threshold: float
    most: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of each goal that holds, the best first: its index, or -1; and its score, or 0."""
        number = min(self.most, len(self.candidates))
        return tuple(f"holds/{n}/{part}" for n in range(number) for part in ("goal", "score"))

    def __call__(self, scores: "Tensor", goals: "Tensor") -> "Tensor":
        """Return which goals hold in B frames.

        Args:
            scores: float32 ``[B, C]``: the score of each frame for each candidate.
            goals: not read: a goal holds whatever the frame's own goal is.

        Returns:
            float32 ``[B, 2 * k]``, see :attr:`names`.
        """
        import torch

        best, places = scores.topk(min(self.most, scores.shape[1]), dim=1)
        holds = best > self.threshold
        found = torch.from_numpy(self.indices).to(scores.device)[places]
        found = torch.where(holds, found, -1)
        return torch.stack([found.float(), torch.where(holds, best, 0.0)], dim=2).flatten(1)
