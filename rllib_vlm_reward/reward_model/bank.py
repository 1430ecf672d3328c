"""The text bank: every statement of a goal set, encoded once."""

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import GoalSet

if TYPE_CHECKING:
    from rllib_vlm_reward.reward_model.encoder import CLIPEncoder

__all__ = ["TextBank"]


class TextBank:
    """Text embeddings of a goal set, looked up by the goal's index.

    With G goals of at most K negatives and N distinct statements, it holds the embeddings
    ``[N, D]`` and a padded index ``[G, K]``, so 10,000 goals are as cheap as ten.

    Args:
        goals: the goal set.
        embeddings: float32 ``[N, D]``, unit norm, of ``goals.statements`` in their order.
        logit_scale: the model's multiplier of a cosine.
        logit_bias: what a sigmoid model adds to it; None for others.

    Example:
        >>> from rllib_vlm_reward.goals import Goal, GoalSet
        >>> goals = GoalSet((Goal("ball", "a ball", ("a key", "a box")), Goal("key", "a key")))
        >>> bank = TextBank(goals, torch.eye(3), logit_scale=100.0)
        >>> goal, negatives, mask = bank.similarities(torch.eye(3)[:2], torch.tensor([0, 1]))
        >>> goal, mask
        (tensor([1., 1.]), tensor([[ True,  True],
                [False, False]]))
    """

    def __init__(
        self,
        goals: GoalSet,
        embeddings: Tensor,
        logit_scale: float,
        logit_bias: float | None = None,
    ) -> None:
        self.embeddings = embeddings
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias
        device = embeddings.device
        rows = {statement: row for row, statement in enumerate(goals.statements)}
        self._goal_rows = torch.tensor([rows[g.prompt] for g in goals.goals], device=device)
        baselines = [rows[g.baseline] for g in goals.goals if g.baseline]
        complete = len(baselines) == len(goals)
        self._baseline_rows = torch.tensor(baselines, device=device) if complete else None
        counts = torch.tensor([len(g.negatives) for g in goals.goals])
        mask = torch.arange(int(counts.max())) < counts[:, None]
        negatives = itertools.chain.from_iterable(g.negatives for g in goals.goals)
        padded = torch.zeros(mask.shape, dtype=torch.int64)
        padded[mask] = torch.tensor([rows[negative] for negative in negatives], dtype=torch.int64)
        self._negative_rows, self._mask = padded.to(device), mask.to(device)

    @classmethod
    def encode(cls, goals: GoalSet, encoder: "CLIPEncoder") -> "TextBank":
        """Encode every statement of the goals, once each."""
        embeddings = encoder.encode_texts(goals.statements)
        return cls(goals, embeddings, encoder.logit_scale, encoder.logit_bias)

    def goal(self, goals: Tensor) -> Tensor:
        """Return the embeddings of the goals' prompts: int64 ``[B]`` to ``[B, D]``."""
        return self.embeddings[self._goal_rows[goals]]

    def baseline(self, goals: Tensor) -> Tensor:
        """Return the embeddings of the goals' baselines: int64 ``[B]`` to ``[B, D]``.

        Raises:
            RewardError: a goal of the set has no baseline.
        """
        if self._baseline_rows is None:
            raise RewardError(
                "text bank: a goal has no baseline, but the head needs one for each. Give "
                "`baseline`, the state before success, or choose another head."
            )
        return self.embeddings[self._baseline_rows[goals]]

    def num_statements(self, goals: Tensor) -> Tensor:
        """Return |L|, one and the number of negatives: int64 ``[B]`` to int64 ``[B]``."""
        return 1 + self._mask[goals].sum(dim=1)

    def similarities(self, images: Tensor, goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cosines of each image with its goal and with its goal's negatives.

        One matrix product with the distinct statements that the batch needs.

        Args:
            images: float32 ``[B, D]``, unit norm.
            goals: int64 ``[B]``.

        Returns:
            goal cosines ``[B]``; negatives' cosines ``[B, K]``, K the most negatives of any goal
            in the set; bool ``[B, K]``, False where a goal has fewer (its cosine there is void).
        """
        mask = self._mask[goals]
        rows = torch.cat([self._goal_rows[goals, None], self._negative_rows[goals]], dim=1)
        needed, columns = torch.unique(rows, return_inverse=True)
        cosines = (images @ self.embeddings[needed].T).gather(1, columns)
        return cosines[:, 0], cosines[:, 1:], mask
