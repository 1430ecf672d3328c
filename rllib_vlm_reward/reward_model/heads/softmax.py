"""The paper's head: the probability of the goal among its negatives."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.heads.base import Head

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Softmax"]


@dataclasses.dataclass(frozen=True)
class Softmax(Head):
    """The probability of the goal among its negatives, in [0, 1]: the paper's equation 1.

    p = exp(f·g/τ) / Σ_{l in L} exp(f·l/τ), where L holds the goal and its negatives (arXiv
    2312.09187). For a goal without negatives, p is 1.

    Attributes:
        temperature: τ; None takes the model's, 1 / logit_scale.

    Raises:
        RewardError: the temperature is not a positive number.

    Example:
        >>> import torch
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> from rllib_vlm_reward.reward_model.bank import TextBank
        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup", ("an empty hand",)),))
        >>> bank = TextBank(goals, texts, logit_scale=10.0)
        >>> round(Softmax()(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0])).item(), 3)
        0.119
    """

    is_probability: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = True
    has_temperature: ClassVar[bool] = True

    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise RewardError(
                f"head: got temperature {self.temperature}, expected more than 0. Leave it out "
                "to take the model's."
            )

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return p, float32 ``[B]``."""
        import torch

        goal, negatives, mask = bank.similarities(images, goals)
        statements = torch.cat([goal[:, None], negatives.masked_fill(~mask, -torch.inf)], dim=1)
        return (self._scale(bank) * statements).softmax(dim=1)[:, 0]

    def each(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return p, float32 ``[B, G]``."""
        return bank.softmax(images, goals, self._scale(bank))

    def _scale(self, bank: "TextBank") -> float:
        return bank.logit_scale if self.temperature is None else 1 / self.temperature
