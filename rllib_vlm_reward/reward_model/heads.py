"""Heads: what an image embedding is worth, given a goal and what it is weighed against.

A head is a frozen dataclass, called as ``head(images, bank, goals)``:

* ``images``: float32 ``[B, D]``, unit norm;
* ``bank``: the goals' text embeddings, a :class:`~rllib_vlm_reward.reward_model.bank.TextBank`;
* ``goals``: int64 ``[B]``, each frame's goal;
* returns scores, float32 ``[B]``, each frame's independent of the others in its batch.

A head of your own is any frozen dataclass that keeps this contract.
"""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Cosine", "Dense", "GoalBaseline", "Head", "Sigmoid", "Softmax"]

Head = Callable[[Tensor, TextBank, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Softmax:
    """The probability of the goal among its negatives, in [0, 1]: the paper's equation 1.

    p = exp(f·g/τ) / Σ_{l in L} exp(f·l/τ), where L is the goal and its negatives (arXiv
    2312.09187). 1 for a goal without negatives.

    Attributes:
        temperature: τ; None takes the model's own, 1 / logit_scale.

    Raises:
        RewardError: a temperature that is not positive.

    Example:
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup", ("an empty hand",)),))
        >>> bank = TextBank(goals, texts, logit_scale=10.0)
        >>> round(Softmax()(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0])).item(), 3)
        0.119
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None and not self.temperature > 0:
            raise RewardError(
                f"head: got temperature {self.temperature}, expected more than 0. Leave it out "
                "to take the model's own."
            )

    def __call__(self, images: Tensor, bank: TextBank, goals: Tensor) -> Tensor:
        """Return p, float32 ``[B]``."""
        goal, negatives, mask = bank.similarities(images, goals)
        statements = torch.cat([goal[:, None], negatives.masked_fill(~mask, -torch.inf)], dim=1)
        scale = bank.logit_scale if self.temperature is None else 1 / self.temperature
        return (scale * statements).softmax(dim=1)[:, 0]


@dataclasses.dataclass(frozen=True)
class Dense:
    """How far the probability exceeds chance, max(p - 1/N, 0), in [0, 1 - 1/N].

    p is :class:`Softmax`'s, N the number of statements in L. MineCLIP's direct reward (arXiv
    2206.08853), as COPL's code computes it.

    Attributes:
        temperature: as in :class:`Softmax`.

    Raises:
        RewardError: a temperature that is not positive.

    Example:
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup", ("an empty hand",)),))
        >>> bank = TextBank(goals, texts, logit_scale=10.0)
        >>> images = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
        >>> [round(score, 3) for score in Dense()(images, bank, torch.tensor([0, 0])).tolist()]
        [0.381, 0.0]
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        Softmax(self.temperature)

    def __call__(self, images: Tensor, bank: TextBank, goals: Tensor) -> Tensor:
        """Return max(p - 1/N, 0), float32 ``[B]``."""
        probability = Softmax(self.temperature)(images, bank, goals)
        return (probability - 1 / bank.num_statements(goals)).clamp(min=0)


@dataclasses.dataclass(frozen=True)
class Cosine:
    """The cosine f·g of frame and goal, in [-1, 1].

    Example:
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup"),))
        >>> bank = TextBank(goals, torch.tensor([[1.0, 0.0]]), logit_scale=10.0)
        >>> Cosine()(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0]))
        tensor([0.6000])
    """

    def __call__(self, images: Tensor, bank: TextBank, goals: Tensor) -> Tensor:
        """Return f·g, float32 ``[B]``."""
        return (images * bank.goal(goals)).sum(dim=1)


@dataclasses.dataclass(frozen=True)
class GoalBaseline:
    """Goal-baseline regularisation, in [-1, 1]: 1 - ½‖α·proj_L(f) + (1 - α)·f - g‖².

    L is the line through the baseline b and the goal g: what changes along it is what tells the
    goal from the state before (Rocamonde et al., arXiv 2310.12921, definition 1). α = 0 is the
    cosine.

    Attributes:
        alpha: α, 0 to 1.

    Raises:
        RewardError: an alpha outside [0, 1]; on calling, a goal without a baseline.

    Example:
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup", baseline="an empty hand"),))
        >>> bank = TextBank(goals, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), logit_scale=10.0)
        >>> GoalBaseline(alpha=1.0)(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0]))
        tensor([0.6400])
    """

    alpha: float

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise RewardError(f"head: got alpha {self.alpha}, expected 0 (cosine) to 1.")

    def __call__(self, images: Tensor, bank: TextBank, goals: Tensor) -> Tensor:
        """Return the regularised cosine, float32 ``[B]``."""
        goal = bank.goal(goals)
        line = torch.nn.functional.normalize(goal - bank.baseline(goals), dim=1, eps=0)
        # proj_L(f) - g is the part of f - g along the line, since g lies on it.
        away = images - goal
        along = (away * line).sum(dim=1, keepdim=True) * line
        return 1 - (self.alpha * along + (1 - self.alpha) * away).square().sum(dim=1) / 2


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """The probability of a sigmoid model (SigLIP, arXiv 2303.15343), in [0, 1].

    σ(logit_scale · f·g + logit_bias); negatives play no part.

    Raises:
        RewardError: on calling, a model without a logit_bias.

    Example:
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> goals = GoalSet((Goal("lift", "a hand holding a cup"),))
        >>> bank = TextBank(goals, torch.tensor([[1.0, 0.0]]), logit_scale=10.0, logit_bias=-5.0)
        >>> round(Sigmoid()(torch.tensor([[0.6, 0.8]]), bank, torch.tensor([0])).item(), 3)
        0.731
    """

    def __call__(self, images: Tensor, bank: TextBank, goals: Tensor) -> Tensor:
        """Return σ, float32 ``[B]``."""
        if bank.logit_bias is None:
            raise RewardError(
                "head sigmoid: the model has no logit_bias, expected one trained with a sigmoid "
                "loss, such as ViT-B-16-SigLIP. Choose that, or head: softmax."
            )
        return (bank.logit_scale * Cosine()(images, bank, goals) + bank.logit_bias).sigmoid()
