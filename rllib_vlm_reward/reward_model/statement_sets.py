"""The distinct sets of statements that goals are compared with."""

from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.goals.others import OtherPrompts, PromptGroup

__all__ = ["StatementSets"]

_AT_ONCE = 2**22  # gathered logits, which take 16 MB


class StatementSets:
    """The sets of statements of a goal set: each goal's is its prompt and its negatives.

    All goals whose negatives are the other goals of their template have the same set. Goals with
    drawn negatives have one each.

    Args:
        goals: the goal set.
        device: where the logits will be.

    Attributes:
        of_goal: int64 ``[G]``: which set a goal has.

    Example:
        >>> goals = GoalSet.from_texts(["a ball", "a key"], negatives=["nothing"])
        >>> sets = StatementSets(goals, torch.device("cpu"))
        >>> sets.of_goal
        tensor([0, 0])
        >>> sets.sums(torch.tensor([[0.0, 0.0, 1.0]]))
        (tensor([[1.]]), tensor([[1.7358]]))
    """

    def __init__(self, goals: GoalSet, device: torch.device) -> None:
        rows = {statement: row for row, statement in enumerate(goals.statements)}
        found: dict[Hashable, int] = {}
        members: list[list[int]] = []
        of_goal = []
        for goal in goals.goals:
            group = _group_with(goal.prompt, goal.negatives)
            known = group is not None and group in found
            texts = () if known else (goal.prompt, *goal.negatives)
            own = sorted({rows[text] for text in texts})
            key: Hashable = tuple(own) if group is None else group
            if key not in found:
                found[key] = len(members)
                members.append(own)
            of_goal.append(found[key])
        self.of_goal = torch.tensor(of_goal, device=device)
        by_size: dict[int, list[int]] = {}
        for number, own in enumerate(members):
            by_size.setdefault(len(own), []).append(number)
        # Sets of one size in one array, int64 [sets, size].
        order = [number for numbers in by_size.values() for number in numbers]
        self._of_one_size = [
            torch.tensor([members[number] for number in numbers], device=device)
            for numbers in by_size.values()
        ]
        self._places = torch.from_numpy(np.argsort(order)).to(device)

    def sums(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return each set's highest logit m, and its Σ exp(logit - m): float32 ``[B, sets]`` both.

        Args:
            logits: float32 ``[B, N]``, the logit of each statement.
        """
        highest, totals = [], []
        for rows in self._of_one_size:
            at_once = max(1, _AT_ONCE // (rows.shape[1] * max(1, len(logits))))
            for some in torch.split(rows, at_once):
                gathered = logits[:, some]  # [B, some, size]
                most = gathered.amax(dim=2)
                highest.append(most)
                totals.append((gathered - most[:, :, None]).exp().sum(dim=2))
        return (
            torch.cat(highest, dim=1)[:, self._places],
            torch.cat(totals, dim=1)[:, self._places],
        )


def _group_with(prompt: str, negatives: object) -> PromptGroup | None:
    """Return the group of prompts that a goal and its negatives are together, if there is one."""
    if not isinstance(negatives, OtherPrompts) or negatives.prompt != prompt:
        return None
    return negatives.group if prompt in negatives.group.positions else None
