"""The figures of a reward: in all, of each family, of each goal."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames, indices_of
from rllib_vlm_reward.metrics.bootstrap import Interval, bootstrap
from rllib_vlm_reward.metrics.epic import epic_distance
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.metrics.ranking import auroc, rank_correlation
from rllib_vlm_reward.metrics.reliability import reliability
from rllib_vlm_reward.reward_model.scorer import pay

__all__ = ["FIGURES", "Figures", "by_family", "by_goal", "figures", "or_none"]

Rows = npt.NDArray[np.intp]
_UNDEFINED = Interval(math.nan, math.nan, math.nan)
_REPEATS = 300
_FEW = 3

FIGURES: Mapping[str, str] = {
    "average_precision": "AP",
    "auroc": "AUROC",
    "goal_accuracy": "goal_accuracy",
    "precision": "precision at β",
    "recall": "recall at β",
    "false_positives": "false positives an episode",
    "missed_episodes": "missed episodes",
    "calibration_error": "ECE",
    "epic_score": "EPIC of the score",
    "epic_reward": "EPIC of the reward at β",
    "rank_correlation": "rank correlation with the oracle",
}
"""The figures' names, and what tables call them."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of some frames, each with its 95 % interval; NaN where one is not defined.

    Attributes:
        frames, successes, episodes: how many.
        succeeded, failed: episodes with a success, and with a frame that is none.
        chance: what ``goal_accuracy`` is for a score that knows nothing.
        average_precision, auroc: without β. A score that tells nothing has the share of successes
            and 0.5.
        goal_accuracy: share of the successes at which the own goal's prompt scores highest in its
            family, see :class:`.GoalAccuracy`.
        precision, recall, false_positives, missed_episodes: at β, see :class:`.Fires`.
        calibration_error: ECE, of scores that are probabilities.
        epic_score, epic_reward: EPIC distance from the labels, of the score and of 1[score > β].
        rank_correlation: of the score with minus the oracle's steps to go, where known.
    """

    frames: int
    successes: int
    episodes: int
    succeeded: int
    failed: int
    chance: float
    average_precision: Interval
    auroc: Interval
    goal_accuracy: Interval
    precision: Interval
    recall: Interval
    false_positives: Interval
    missed_episodes: Interval
    calibration_error: Interval
    epic_score: Interval
    epic_reward: Interval
    rank_correlation: Interval

    @property
    def share(self) -> float:
        """Share of successes: the AP of a score that tells nothing."""
        return self.successes / self.frames

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; None where a figure is not defined."""
        given = dataclasses.asdict(self)
        for name in FIGURES:
            given[name] = {end: or_none(each) for end, each in given[name].items()}
        return {**given, "chance": or_none(self.chance)}


def figures(scored: ScoredFrames, rows: npt.NDArray[np.integer] | None = None) -> Figures:
    """Return the figures of all frames, or of some.

    Args:
        scored: the scored frames.
        rows: which; None takes all.

    Example:
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.scored_frames import score_labelled
        >>> from rllib_vlm_reward.evaluation.labelled import LabelledFrames, encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> scored = score_labelled(config, frames)
        >>> figures(scored).share, figures(scored, np.array([0])).share
        (0.5, 1.0)
        >>> [*by_goal(scored)], [*by_family(scored)]
        (['a ball', 'a key'], ['{}'])
    """
    rows = np.arange(len(scored.scores)) if rows is None else rows
    frames, scores = scored.frames, scored.scores[rows]
    labels, episodes = frames.labels[rows], frames.episode_indices[rows]
    hits, chance = scored.goal_accuracy.hits[rows], scored.goal_accuracy.chance[rows]
    rewards, value = pay(scores, scored.threshold), -frames.steps_to_go[rows]
    truth = labels.astype(np.float32)
    succeeded = np.unique(episodes[labels])

    def of(statistic: Callable[[Rows], float], where: npt.NDArray[np.bool_] | None = None) -> Any:
        return _interval(statistic, episodes, len(succeeded), where)

    return Figures(
        frames=len(rows),
        successes=int(labels.sum()),
        episodes=len(np.unique(episodes)),
        succeeded=len(succeeded),
        failed=len(np.unique(episodes[~labels])),
        chance=float(np.nanmean(chance)) if np.isfinite(chance).any() else math.nan,
        average_precision=of(lambda r: average_precision(scores[r], labels[r])),
        auroc=of(lambda r: auroc(scores[r], labels[r])),
        goal_accuracy=of(lambda r: float(hits[r].mean()), np.isfinite(hits)),
        **_at_threshold(Fires.at(scored.threshold, scores, labels, episodes)),
        calibration_error=of(lambda r: reliability(scores[r], labels[r]).expected_error)
        if scored.are_probabilities
        else _UNDEFINED,
        epic_score=of(lambda r: epic_distance(scores[r], truth[r])),
        epic_reward=of(lambda r: epic_distance(rewards[r], truth[r])),
        rank_correlation=of(lambda r: rank_correlation(scores[r], value[r]), np.isfinite(value)),
    )


def by_family(scored: ScoredFrames) -> dict[str, Figures]:
    """Return the figures of each family that the frames have."""
    goals = scored.config.goal_set
    families = np.array([goals[index].family for index in indices_of(scored.frames, goals)])
    return _of_each(scored, families)


def by_goal(scored: ScoredFrames) -> dict[str, Figures]:
    """Return the figures of each goal that the frames have."""
    return _of_each(scored, np.array(scored.frames.goals))


def _of_each(scored: ScoredFrames, names: npt.NDArray[np.str_]) -> dict[str, Figures]:
    return {str(name): figures(scored, np.flatnonzero(names == name)) for name in np.unique(names)}


def _interval(
    statistic: Callable[[Rows], float],
    episodes: Rows,
    rests_on: int,
    where: npt.NDArray[np.bool_] | None = None,
) -> Interval:
    """Return a figure; its interval too, if enough episodes bear it to draw from."""
    kept = np.arange(len(episodes)) if where is None else np.flatnonzero(where)
    value = statistic(kept) if len(kept) else math.nan
    if math.isnan(value) or rests_on < _FEW:
        return Interval(value, math.nan, math.nan)
    return bootstrap(lambda rows: statistic(kept[rows]), episodes[kept], repeats=_REPEATS)


def _at_threshold(fires: Fires) -> dict[str, Interval]:
    rest_on = {
        "precision": fires.right + fires.wrong,
        "recall": fires.successes,
        "false_positives": np.ones(len(fires)),
        "missed_episodes": fires.successes,
    }
    each = np.arange(len(fires))
    return {
        name: _interval(partial(fires.of, name), each, int(np.count_nonzero(borne)))
        for name, borne in rest_on.items()
    }


def or_none(value: float) -> float | None:
    """Return a figure as JSON knows it: None where it is not defined.

    Example:
        >>> or_none(0.5), or_none(math.nan)
        (0.5, None)
    """
    return value if math.isfinite(value) else None
