"""Goal accuracy: where a goal is reached, has that goal the highest score of its family?"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

__all__ = ["GoalAccuracy", "RivalScores", "goal_accuracy", "rivals", "score_rivals"]

RIVALS = 32


@dataclasses.dataclass(frozen=True)
class GoalAccuracy:
    """Which goal has the highest score where a goal is reached: CLIP as a classifier of goals.

    A score that rises at any success, whatever the goal, can rank frames well, but it cannot
    reward one goal in particular.

    Attributes:
        hits: 1 where the frame's goal scores above all its rivals, 1 / k where it shares the
            highest score with k - 1 others, else 0; NaN without success or rivals. float64
            ``[N]``.
        chance: the expected hit of an uninformative score; NaN where ``hits`` is. float64
            ``[N]``.
        taken_for: for each goal with successes and rivals, the goal that scores highest at these
            successes on average; the same goal, if all is well.

    Example:
        >>> GoalAccuracy(np.array([1.0, 0.0]), np.array([0.5, 0.5]), {"a": "a", "b": "a"}).mistaken
        {'b': 'a'}
    """

    hits: npt.NDArray[np.float64]
    chance: npt.NDArray[np.float64]
    taken_for: Mapping[str, str]

    @property
    def mistaken(self) -> dict[str, str]:
        """The goals that are taken for another goal, with that other goal."""
        return {goal: other for goal, other in self.taken_for.items() if goal != other}


def rivals(goals: GoalSet, seen: Sequence[int], most: int = RIVALS) -> dict[int, list[int]]:
    """Return the goals that each seen goal is compared with: that goal, then others of its family.

    Goals that are seen come before those that are not. No two have the same prompt.

    Args:
        goals: all goals.
        seen: indices of the goals to compare.
        most: how many goals to return at most, the goal itself included.

    Example:
        >>> rivals(GoalSet.from_texts(["a ball", "a key", "a box"]), [2, 1])
        {2: [2, 1, 0], 1: [1, 2, 0]}
    """
    result = {}
    for goal in seen:
        family = goals.families[goals[goal].family]
        order = [goal, *(i for i in seen if i in family), *family]
        by_prompt: dict[str, int] = {}
        for index in order:
            by_prompt.setdefault(goals[index].prompt, index)
        result[goal] = [*by_prompt.values()][:most]
    return result


@dataclasses.dataclass(frozen=True)
class RivalScores:
    """The scores of a goal's successes for that goal and its rivals.

    Attributes:
        rows: the indices of the S successes among the frames.
        goals: the indices of K goals, that of the successes first.
        scores: float32 ``[S, K]``.
    """

    rows: npt.NDArray[np.intp]
    goals: tuple[int, ...]
    scores: npt.NDArray[np.float32]


def score_rivals(
    model: RewardModel, scorer: Scorer, frames: LabelledFrames, goals: npt.NDArray[np.intp]
) -> dict[int, RivalScores]:
    """Score each success for its goal and for the other goals of its family; return them by goal.

    Args:
        model: the CLIP.
        scorer: goals and head.
        frames: N frames.
        goals: index of each frame's goal in ``scorer.goals``, ``[N]``.
    """
    found = {}
    seen = np.unique(goals[frames.labels]).tolist()
    for goal, compared in rivals(scorer.goals, seen).items():
        if len(compared) < 2:
            continue
        rows = np.flatnonzero(frames.labels & (goals == goal))
        scores = _score(model, scorer, frames, rows, compared)
        found[goal] = RivalScores(rows, tuple(compared), scores)
    return found


def goal_accuracy(
    scored: Mapping[int, RivalScores], texts: Sequence[str], frames: int
) -> GoalAccuracy:
    """Return the goal accuracy of scores.

    Args:
        scored: see :func:`score_rivals`.
        texts: the texts of all goals.
        frames: N.
    """
    hits, chance = np.full(frames, np.nan), np.full(frames, np.nan)
    taken_for = {}
    for goal, each in scored.items():
        highest = each.scores == each.scores.max(axis=1, keepdims=True)
        hits[each.rows] = highest[:, 0] / highest.sum(axis=1)
        chance[each.rows] = 1 / len(each.goals)
        best = each.goals[int(each.scores.mean(axis=0).argmax())]
        taken_for[texts[goal]] = texts[best]
    return GoalAccuracy(hits, chance, taken_for)


def _score(
    model: RewardModel,
    scorer: Scorer,
    frames: LabelledFrames,
    rows: npt.NDArray[np.intp],
    goals: Sequence[int],
) -> npt.NDArray[np.float32]:
    """Score these frames against each of these goals: float32 ``[rows, goals]``."""
    parts = []
    for _, pixels in frames.batches(rows=rows):
        alike = (np.full(len(pixels), goal) for goal in goals)
        parts.append(np.stack([model.score(pixels, each, scorer) for each in alike], axis=1))
    return np.concatenate(parts)
