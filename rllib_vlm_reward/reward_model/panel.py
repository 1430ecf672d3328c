"""A panel: the scorers of several experts, and how their scores become one. Needs no torch."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.combiner import Combiner, disagreement
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores, key_of

__all__ = ["Expert", "Panel"]


@dataclasses.dataclass(frozen=True)
class Expert:
    """One of the experts of a panel.

    Attributes:
        name: its name in ``vlm_reward.experts``.
        scorer: its goals (with the prompts of its templates), and its head.
        view: the place of its frames among those of a step, since frame sources may differ.
    """

    name: str
    scorer: Scorer
    view: int


@dataclasses.dataclass(frozen=True)
class Panel:
    """Several experts, whose scores become one; what a :class:`.Scorer` is with a single encoder.

    Attributes:
        experts: the experts, all of which score the same goals.
        combiner: makes one score of theirs.
    """

    experts: tuple[Expert, ...]
    combiner: Combiner

    @property
    def goals(self) -> GoalSet:
        """The goals; only their texts are those of every expert."""
        return self.experts[0].scorer.goals

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys under which the experts' precisions are kept, see :func:`.key_of`."""
        return tuple(key_of(expert.scorer, expert.name) for expert in self.experts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers that answer a frame."""
        return ("score", "disagreement", *(expert.name for expert in self.experts))

    @property
    def precision(self) -> str | None:
        """The experts' precisions, for messages; None if each is the reward model's choice."""
        chosen = {expert.name: expert.scorer.precision for expert in self.experts}
        if not any(chosen.values()):
            return None
        return ", ".join(f"{name} {precision}" for name, precision in chosen.items())

    def with_precisions(self, chosen: Mapping[str, str]) -> "Panel":
        """Return the panel whose frames are encoded in these precisions; see :func:`.key_of`."""
        experts = tuple(
            dataclasses.replace(each, scorer=each.scorer.with_precisions(chosen, each.name))
            for each in self.experts
        )
        return dataclasses.replace(self, experts=experts)

    def answer(self, scores: Scores, goals: npt.NDArray[np.integer]) -> Scores:
        """Return the numbers that answer B frames, in the order of :attr:`names`.

        Args:
            scores: float32 ``[B, E]``, the experts' scores; NaN where an expert did not answer.
                Each row has an answer.
            goals: ``[B]``, the index of each frame's goal.

        Returns:
            float32 ``[B, 2 + E]``: the combined score, the disagreement, and the experts' scores.
        """
        combined = self.combiner(scores, goals)
        spread = disagreement(self.combiner.opinions(scores, goals))
        return np.column_stack([combined, spread, scores]).astype(np.float32)
