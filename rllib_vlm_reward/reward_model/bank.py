"""The text bank: the embeddings of all statements of a goal set."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.goals.others import OtherPrompts, PromptGroup
from rllib_vlm_reward.reward_model.statement_sets import StatementSets

__all__ = ["TextBank"]

# Cost of gathering one statement for one frame, relative to one statement of a matrix product with
# all statements: 25 to 35 on a CPU, for D of 64 and 512 in batches of 16 and 64.
_GATHER_COST = 25


class TextBank:
    """Text embeddings of a goal set, looked up by the goal's index.

    It holds the embeddings ``[N, D]`` of the N distinct statements. The negatives of all goals are
    stored in one flat index without padding, so the cost of a batch depends only on the goals in
    it.

    Args:
        goals: the goal set.
        embeddings: float32 ``[N, D]``, unit norm: the embeddings of ``goals.statements``, in order.
        logit_scale: the factor by which the model multiplies a cosine.
        logit_bias: the term that a sigmoid model adds to the product; None for other models.

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
        self._goals = goals
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
        # Computed on the CPU, since a lane's CUDA stream would not wait for another stream.
        self._starts = torch.from_numpy(counts.cumsum() - counts).to(device)
        flat = _negative_rows(goals, rows)
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
                "text bank: a goal has no baseline, but the head needs one for each goal. Set "
                "`baseline`, a description of the state before success, or choose another head."
            )
        return self.embeddings[self._baseline_rows[goals]]

    def num_statements(self, goals: Tensor) -> Tensor:
        """Return 1 + the number of each goal's negatives: int64 ``[B]`` to int64 ``[B]``."""
        return 1 + self._counts[goals]

    def similarities(self, images: Tensor, goals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the cosines of each image with its goal and with its goal's negatives.

        This computes the cosines with all statements, or gathers each frame's statements first,
        whichever is less work.

        Args:
            images: float32 ``[B, D]``, unit norm: the frames' embeddings.
            goals: int64 ``[B]``, each frame's goal.

        Returns:
            The cosines with the goals ``[B]``; the cosines with the negatives ``[B, K]``, where K
            is the largest number of negatives in the batch; and a bool mask ``[B, K]``, False where
            a goal has fewer negatives and the cosine has no meaning.
        """
        rows, mask = self._rows(goals)
        if len(self.embeddings) <= _GATHER_COST * rows.shape[1]:
            cosines = (images @ self.embeddings.T).gather(1, rows)
        else:
            flat = self.embeddings.index_select(0, rows.flatten())
            gathered = flat.view(*rows.shape, images.shape[1])
            cosines = (gathered @ images[:, :, None])[:, :, 0]
        return cosines[:, 0], cosines[:, 1:], mask

    def softmax(self, images: Tensor, goals: Tensor, scale: float) -> Tensor:
        """Return the probability of each of G goals among its negatives: float32 ``[B, G]``.

        Many goals are compared with the same statements. The sum over these is computed once.

        Args:
            images: float32 ``[B, D]``, unit norm: the frames' embeddings.
            goals: int64 ``[G]``.
            scale: 1/τ, the factor of a cosine.
        """
        logits = scale * (images @ self.embeddings.T)
        highest, total = self._statement_sets.sums(logits)
        sets = self._statement_sets.of_goal[goals]
        return (logits[:, self._goal_rows[goals]] - highest[:, sets]).exp() / total[:, sets]

    @cached_property
    def _statement_sets(self) -> StatementSets:
        return StatementSets(self._goals, self.embeddings.device)

    def _rows(self, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of goals and negatives ``[B, 1 + K]``, and the mask ``[B, K]``."""
        counts = self._counts[goals, None]
        most = int(counts.max()) if len(goals) else 0
        steps = torch.arange(most, device=goals.device)
        mask = steps < counts
        places = torch.where(mask, self._starts[goals, None] + steps, 0)
        return torch.cat([self._goal_rows[goals, None], self._negative_rows[places]], dim=1), mask


def _negative_rows(goals: GoalSet, rows: dict[str, int]) -> npt.NDArray[np.int32]:
    """Return the rows of all negatives, goal after goal; a group is looked up once."""
    of_groups: dict[PromptGroup, npt.NDArray[np.int32]] = {}
    parts = []
    for goal in goals.goals:
        others = goal.negatives
        if not isinstance(others, OtherPrompts):
            parts.append(np.array([rows[text] for text in others], np.int32))
            continue
        if others.group not in of_groups:
            texts = (*others.group.prompts, *others.group.fixed)
            of_groups[others.group] = np.array([rows[text] for text in texts], np.int32)
        of_group = of_groups[others.group]
        parts.append(of_group[of_group != rows[others.prompt]])
    return np.concatenate(parts)
