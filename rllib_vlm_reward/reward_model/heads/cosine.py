"""The simplest head: the cosine of frame and goal."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.reward_model.heads.base import Head

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Cosine"]


@dataclasses.dataclass(frozen=True)
class Cosine(Head):
    """The cosine f·g of the embeddings of frame and goal, in [-1, 1].

    Example:
        >>> import torch
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> from rllib_vlm_reward.reward_model.bank import TextBank
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup"),))
        >>> bank = TextBank(goals, torch.tensor([[1.0, 0.0]]), logit_scale=10.0)
        >>> Cosine()(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0]))
        tensor([0.6000])
    """

    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return f·g, float32 ``[B]``."""
        return (images * bank.goal(goals)).sum(dim=1)

    def each(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return f·g, float32 ``[B, G]``."""
        return images @ bank.goal(goals).T
