"""The figures of a reward: of all frames, of each family, of each goal."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames, indices_of
from rllib_vlm_reward.evaluation.user_metrics import UserMetric
from rllib_vlm_reward.metrics.bootstrap import Interval, bootstrap, bootstrap_metric
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.metrics.metric import METRICS, Metric
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.metrics.reliability import reliability
from rllib_vlm_reward.reward_model.scorer import pay

__all__ = ["Figures", "by_family", "by_goal", "figures", "or_none", "title_of"]

Rows = npt.NDArray[np.intp]
Metrics = Mapping[str, UserMetric]
_UNDEFINED = Interval(math.nan, math.nan, math.nan)
_REPEATS = 300
_FEW = 3

_TITLES = {
    "average_precision": "AP",
    "auroc": "AUROC",
    "epic_score": "EPIC of the score",
    "precision": "precision at β",
    "recall": "recall at β",
    "false_positives": "false positives per episode",
    "calibration_error": "ECE",
    "epic_reward": "EPIC of the reward at β",
    "rank_correlation": "rank correlation with the oracle",
}


def title_of(figure: str) -> str:
    """Return what tables call a figure; a user's metric has the name of its function.

    Example:
        >>> title_of("average_precision"), title_of("goal_accuracy"), title_of("mine.best_f1")
        ('AP', 'goal accuracy', 'best_f1')
    """
    _, dot, name = figure.rpartition(".")
    return name if dot else _TITLES.get(figure, figure.replace("_", " "))


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of some frames, each with its 95 % interval; NaN where one is not defined.

    Intervals are percentile bootstrap intervals over episodes. That of the calibration error is
    shifted to its value, see :func:`.bootstrap`.

    Read a figure by its name, as in ``figures["auroc"]``. The names are those of
    :data:`.METRICS`, which need scores and labels alone; the import paths of the user's metrics;
    and

    * ``goal_accuracy``: share of the successes at which the frame's goal has the highest score of
      its family, see :class:`.GoalAccuracy`;
    * ``precision``, ``recall``, ``false_positives``, ``missed_episodes``: at β, see
      :class:`.Fires`;
    * ``calibration_error``: ECE, for scores that are probabilities;
    * ``epic_reward``: EPIC distance of 1[score > β] from the labels;
    * ``rank_correlation``: rank correlation of the score with minus the oracle's steps to go, on
      the frames that have these.

    Attributes:
        frames: number of frames.
        successes: number of frames that show their goal.
        episodes: number of episodes.
        succeeded: number of episodes with a success.
        failed: number of episodes with a frame that is no success.
        chance: the ``goal_accuracy`` of an uninformative score, in [0, 1].
        values: the figures by name.
    """

    frames: int
    successes: int
    episodes: int
    succeeded: int
    failed: int
    chance: float
    values: Mapping[str, Interval]

    def __getitem__(self, name: str) -> Interval:
        return self.values[name]

    @property
    def share(self) -> float:
        """Share of the frames that are a success."""
        return self.successes / self.frames

    def to_dict(self) -> dict[str, Any]:
        """Return counts and figures for JSON; None where one is not defined."""
        counts = dataclasses.asdict(self)
        values = counts.pop("values")
        ends = {
            name: {end: or_none(each) for end, each in value.items()}
            for name, value in values.items()
        }
        return {**counts, "chance": or_none(self.chance), **ends}


def figures(
    scored: ScoredFrames,
    rows: npt.NDArray[np.integer] | None = None,
    metrics: Metrics | None = None,
) -> Figures:
    """Return the figures of all frames, or of some.

    Args:
        scored: the scored frames.
        rows: indices of the frames to use; None uses all.
        metrics: the user's metrics, see :func:`.load_metrics`.

    Raises:
        ConfigError: a user's metric fails, or its value over all frames is not finite.

    Example:
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> from rllib_vlm_reward.evaluation.labelled import LabelledFrames
        >>> from rllib_vlm_reward.evaluation.scored_frames import score_labelled
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> scored = score_labelled(config, frames)
        >>> figures(scored).share, figures(scored, np.array([0])).share
        (0.5, 1.0)
        >>> [*by_goal(scored)], [*by_family(scored)]
        (['a ball', 'a key'], ['{}'])
    """
    kept = np.arange(len(scored.scores)) if rows is None else rows
    labels, episodes = scored.frames.labels[kept], scored.frames.episode_indices[kept]
    chance = scored.goal_accuracy.chance[kept]
    succeeded = len(np.unique(episodes[labels]))
    repeats = _REPEATS if succeeded >= _FEW else 0

    def measured(metric: Metric) -> Interval:
        return bootstrap_metric(metric, scored.scores[kept], labels, episodes, repeats=repeats)

    values = {name: measured(metric) for name, metric in METRICS.items()}
    values |= _other_figures(scored, kept, repeats)
    for path, metric in (metrics or {}).items():
        values[path] = measured(metric)
        if rows is None:
            metric.check(values[path].value)
    return Figures(
        frames=len(kept),
        successes=int(labels.sum()),
        episodes=len(np.unique(episodes)),
        succeeded=succeeded,
        failed=len(np.unique(episodes[~labels])),
        chance=float(np.nanmean(chance)) if np.isfinite(chance).any() else math.nan,
        values=values,
    )


def by_family(scored: ScoredFrames, metrics: Metrics | None = None) -> dict[str, Figures]:
    """Return the figures by family, for the families that occur in the frames."""
    goals = scored.config.goal_set
    families = np.array([goals[index].family for index in indices_of(scored.frames, goals)])
    return _of_each(scored, families, metrics)


def by_goal(scored: ScoredFrames, metrics: Metrics | None = None) -> dict[str, Figures]:
    """Return the figures by goal, for the goals that occur in the frames."""
    return _of_each(scored, np.array(scored.frames.goals), metrics)


def _of_each(
    scored: ScoredFrames, names: npt.NDArray[np.str_], metrics: Metrics | None
) -> dict[str, Figures]:
    return {
        str(name): figures(scored, np.flatnonzero(names == name), metrics)
        for name in np.unique(names)
    }


def _other_figures(
    scored: ScoredFrames, rows: npt.NDArray[np.integer], repeats: int
) -> dict[str, Interval]:
    """Return the figures that need more than scores, labels and episodes."""
    frames, scores = scored.frames, scored.scores[rows]
    labels, episodes = frames.labels[rows], frames.episode_indices[rows]
    hits, value = scored.goal_accuracy.hits[rows], -frames.steps_to_go[rows]
    rewards = pay(scores, scored.threshold)

    def of(
        statistic: Callable[[Rows], float], where: npt.NDArray[np.bool_] | None = None
    ) -> Interval:
        return _interval(statistic, episodes, repeats, where)

    error = _UNDEFINED
    if scored.are_probabilities:
        error = bootstrap(
            lambda r: reliability(scores[r], labels[r]).expected_error,
            episodes,
            repeats=repeats,
            centred=True,
        )
        error = dataclasses.replace(error, low=max(error.low, 0.0))
    epic = bootstrap_metric(METRICS["epic_score"], rewards, labels, episodes, repeats=repeats)
    return {
        "goal_accuracy": of(lambda r: float(hits[r].mean()), np.isfinite(hits)),
        **_at_threshold(Fires.at(scored.threshold, scores, labels, episodes)),
        "calibration_error": error,
        "epic_reward": epic,
        "rank_correlation": of(lambda r: rank_correlation(scores[r], value[r]), np.isfinite(value)),
    }


def _interval(
    statistic: Callable[[Rows], float],
    episodes: Rows,
    repeats: int,
    where: npt.NDArray[np.bool_] | None = None,
) -> Interval:
    """Return a statistic of all frames, or of those for which ``where`` is true."""
    kept = np.arange(len(episodes)) if where is None else np.flatnonzero(where)
    if not len(kept):
        return _UNDEFINED
    return bootstrap(lambda rows: statistic(kept[rows]), episodes[kept], repeats=repeats)


def _at_threshold(fires: Fires) -> dict[str, Interval]:
    counts = {
        "precision": fires.right + fires.wrong,
        "recall": fires.successes,
        "false_positives": np.ones(len(fires)),
        "missed_episodes": fires.successes,
    }
    each = np.arange(len(fires))
    return {
        name: _interval(
            partial(fires.of, name), each, _REPEATS if np.count_nonzero(count) >= _FEW else 0
        )
        for name, count in counts.items()
    }


def or_none(value: float) -> float | None:
    """Return a figure for JSON: None where it is not defined.

    Example:
        >>> or_none(0.5), or_none(math.nan)
        (0.5, None)
    """
    return value if math.isfinite(value) else None
