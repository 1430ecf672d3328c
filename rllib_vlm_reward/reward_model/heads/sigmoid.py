"""SigLIP's head: the probability that frame and goal match."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.heads.base import Head
from rllib_vlm_reward.reward_model.heads.cosine import Cosine

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Sigmoid"]


@dataclasses.dataclass(frozen=True)
class Sigmoid(Head):
    """The probability of a sigmoid model (SigLIP, arXiv 2303.15343), in [0, 1].

    It is σ(logit_scale · f·g + logit_bias), with the cosine f·g of frame and goal. Negatives are
    not used.

    Raises:
        RewardError: when called, the model has no logit_bias.

    Example:
        >>> import torch
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> from rllib_vlm_reward.reward_model.bank import TextBank
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup"),))
        >>> bank = TextBank(goals, torch.tensor([[1.0, 0.0]]), logit_scale=10.0, logit_bias=-5.0)
        >>> round(Sigmoid()(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0])).item(), 3)
        0.731
    """

    is_probability: ClassVar[bool] = True

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return σ, float32 ``[B]``."""
        return self._of(Cosine()(images, bank, goals), bank)

    def each(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return σ, float32 ``[B, G]``."""
        return self._of(Cosine().each(images, bank, goals), bank)

    def _of(self, cosines: "Tensor", bank: "TextBank") -> "Tensor":
        if bank.logit_bias is None:
            raise RewardError(
                "head sigmoid: the model has no logit_bias, expected a model trained with a "
                "sigmoid loss, such as ViT-B-16-SigLIP. Choose such an encoder, or head: softmax."
            )
        return (bank.logit_scale * cosines + bank.logit_bias).sigmoid()
