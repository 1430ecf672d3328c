"""The text bank: every statement of a goal set, encoded once."""

import itertools

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import GoalSet

__all__ = ["TextBank"]

# What gathering a statement for one frame costs, in statements of a product with all: 25 to 35 on
# a CPU, for D of 64 and 512 in batches of 16 and 64.
_GATHER_COST = 25


class TextBank:
    """Text embeddings of a goal set, looked up by the goal's index.

    It holds the embeddings ``[N, D]`` of the N distinct statements, and each goal's negatives as a
    run of one flat index: nothing is padded, and a batch costs what its own goals have.

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
        counts = np.array([len(g.negatives) for g in goals.goals], np.int64)
        self._counts = torch.from_numpy(counts).to(device)
        # Not computed on a GPU, where a lane's stream would not wait for it.
        self._starts = torch.from_numpy(counts.cumsum() - counts).to(device)
        negatives = itertools.chain.from_iterable(g.negatives for g in goals.goals)
        flat = np.fromiter((rows[text] for text in negatives), np.int32, int(counts.sum()))
        self._negative_rows = torch.from_numpy(flat).to(device)

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
        return 1 + self._counts[goals]

    def similarities(self, images: Tensor, goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cosines of each image with its goal and with its goal's negatives.

        One matrix product with all statements, or one with those of each frame alone, whichever
        is less work.

        Args:
            images: float32 ``[B, D]``, unit norm.
            goals: int64 ``[B]``.

        Returns:
            goal cosines ``[B]``; negatives' cosines ``[B, K]``, K the most negatives of any goal
            in the batch; bool ``[B, K]``, False where a goal has fewer (its cosine there is void).
        """
        rows, mask = self._rows(goals)
        if len(self.embeddings) <= _GATHER_COST * rows.shape[1]:
            cosines = (images @ self.embeddings.T).gather(1, rows)
        else:
            own = self.embeddings.index_select(0, rows.flatten()).view(*rows.shape, images.shape[1])
            cosines = (own @ images[:, :, None])[:, :, 0]
        return cosines[:, 0], cosines[:, 1:], mask

    def _rows(self, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Return a goal's statements, itself first, ``[B, 1 + K]``, and their mask ``[B, K]``."""
        counts = self._counts[goals, None]
        most = int(counts.max()) if len(goals) else 0
        steps = torch.arange(most, device=goals.device)
        mask = steps < counts
        places = torch.where(mask, self._starts[goals, None] + steps, 0)
        return torch.cat([self._goal_rows[goals, None], self._negative_rows[places]], dim=1), mask
