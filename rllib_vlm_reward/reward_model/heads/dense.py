"""MineCLIP's head: by how much the probability exceeds chance."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.reward_model.heads.base import Head
from rllib_vlm_reward.reward_model.heads.softmax import Softmax

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Dense"]


@dataclasses.dataclass(frozen=True)
class Dense(Head):
    """By how much the probability exceeds chance: max(p - 1/N, 0), in [0, 1 - 1/N].

    p is the score of :class:`.Softmax`, and N the number of statements, 1 + the number of the
    goal's negatives. This is MineCLIP's direct reward (arXiv 2206.08853), as in COPL's code.

    Attributes:
        temperature: as in :class:`.Softmax`.

    Raises:
        RewardError: the temperature is not a positive number.

    Example:
        >>> import torch
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> from rllib_vlm_reward.reward_model.bank import TextBank
        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup", ("an empty hand",)),))
        >>> bank = TextBank(goals, texts, logit_scale=10.0)
        >>> images = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
        >>> [round(score, 3) for score in Dense()(images, bank, torch.tensor([0, 0])).tolist()]
        [0.381, 0.0]
    """

    may_be_constant: ClassVar[bool] = True  # 0 wherever p < 1/N
    needs_negatives: ClassVar[bool] = True
    has_temperature: ClassVar[bool] = True

    temperature: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        Softmax(self.temperature)  # raises an error for an invalid temperature

    def range_among(self, statements: int) -> tuple[float, float]:
        """Return 0 and 1 - 1/N."""
        return 0.0, 1 - 1 / statements

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return max(p - 1/N, 0), float32 ``[B]``."""
        return _above_chance(Softmax(self.temperature)(images, bank, goals), bank, goals)

    def each(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return max(p - 1/N, 0), float32 ``[B, G]``."""
        return _above_chance(Softmax(self.temperature).each(images, bank, goals), bank, goals)


def _above_chance(probability: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
    return (probability - 1 / bank.num_statements(goals)).clamp(min=0)
