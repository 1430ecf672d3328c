"""vlmrm's head: a cosine with the frame projected towards the line from baseline to goal."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.heads.base import Head

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["GoalBaseline"]


@dataclasses.dataclass(frozen=True)
class GoalBaseline(Head):
    """Goal-baseline regularisation, in [-1, 1]: 1 - ½‖α·proj_L(f) + (1 - α)·f - g‖².

    f, g and b are the embeddings of the frame, the goal and the baseline, and L is the line through
    b and g. The projection onto L removes what does not distinguish the goal from the baseline
    (Rocamonde et al., arXiv 2310.12921, definition 1). α = 0 gives the cosine.

    Attributes:
        alpha: α, the strength of the regularisation, 0 to 1.

    Raises:
        RewardError: alpha is outside [0, 1]; or, when called, a goal has no baseline.

    Example:
        >>> import torch
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> from rllib_vlm_reward.reward_model.bank import TextBank
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup", baseline="an empty hand"),))
        >>> bank = TextBank(goals, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), logit_scale=10.0)
        >>> GoalBaseline(alpha=1.0)(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0]))
        tensor([0.6400])
    """

    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs_baseline: ClassVar[bool] = True

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise RewardError(
                f"head: got alpha {self.alpha}, expected a number from 0 (cosine) to 1. Correct it."
            )

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return the regularised cosine, float32 ``[B]``."""
        import torch

        goal = bank.goal(goals)
        line = torch.nn.functional.normalize(goal - bank.baseline(goals), dim=1, eps=0)
        # proj_L(f) - g is the part of f - g along the line, since g is on the line.
        away = images - goal
        along = (away * line).sum(dim=1, keepdim=True) * line
        return 1 - (self.alpha * along + (1 - self.alpha) * away).square().sum(dim=1) / 2
