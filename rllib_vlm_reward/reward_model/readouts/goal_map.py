"""A map of the frame that says where the goal's thing is."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.readouts.nouns import NounReadout

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GoalMap"]


@dataclasses.dataclass(frozen=True)
class GoalMap(NounReadout):
    """The probability that a patch shows the noun of the frame's goal, for each patch.

    p is the softmax at the model's temperature over the noun and the other words.

    Attributes:
        nouns: the noun of each of the scorer's goals, in order.
        others: the words that the noun is compared with; a noun may be among them.
        size: h and w, the number of patches down and across.

    Example:
        >>> import torch
        >>> find = GoalMap(nouns=("a ball",), others=("nothing",), size=(1, 3))
        >>> ball, nothing = torch.eye(2)
        >>> patches = torch.stack([nothing, nothing, ball]).view(1, 1, 3, 2)
        >>> find(patches, torch.stack([nothing, ball]), torch.tensor([0]), 3.0)
        tensor([[0.0474, 0.0474, 0.9526]])
    """

    kind: ClassVar[str] = "map"

    size: tuple[int, int]

    @property
    def names(self) -> tuple[str, ...]:
        """``map/0``, ``map/1`` and so on: the patches in rows from the top."""
        return tuple(f"map/{patch}" for patch in range(self.size[0] * self.size[1]))

    def __call__(
        self, patches: "Tensor", texts: "Tensor", goals: "Tensor", logit_scale: float
    ) -> "Tensor":
        """Return p of each patch, float32 ``[B, h * w]``.

        Raises:
            RewardError: the frames have another number of patches.
        """
        size = (patches.shape[1], patches.shape[2])
        if size != self.size:
            raise RewardError(
                f"goal_map: got a map of {self.size[0]} × {self.size[1]}, but the encoder has "
                f"{size[0]} × {size[1]} patches. Set goal_map: {[*size]}."
            )
        return self.compare(patches, texts, goals, logit_scale)[0].flatten(1)
