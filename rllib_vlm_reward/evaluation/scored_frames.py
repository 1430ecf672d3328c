"""Labelled frames with the scores of one reward."""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.evaluation.goal_accuracy import (
    GoalAccuracy,
    RivalScores,
    goal_accuracy,
    score_rivals,
)
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.models import check_precision, load_model
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.metrics.precision_recall import precision_recall
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores

__all__ = [
    "UNCALIBRATED",
    "ScoredFrames",
    "best_threshold",
    "combine_experts",
    "indices_of",
    "score_frames",
    "score_labelled",
    "score_with_model",
    "unseen_goals",
    "with_encoder",
]

UNCALIBRATED: Mapping[str, Any] = MappingProxyType(
    {"calibration": None, "hints": None, "hindsight": None, "early_end": False}
)
"""What `model_copy` changes to remove a calibration, and what needs its threshold."""


@dataclasses.dataclass(frozen=True)
class ScoredFrames:
    """N labelled frames with the scores of one reward.

    Attributes:
        config: the reward, with the encoder that scored.
        fingerprint: SHA-256 of the encoder's weights.
        frames: the frames.
        scores: finite, float32 ``[N]``.
        goal_accuracy: which goal has the highest score where a goal is reached.
        threshold: β of the configuration; if it has none, the β with the best F1 on these frames.
        rivals: the scores from which the goal accuracy was computed, by goal.
    """

    config: VLMRewardConfig
    fingerprint: str
    frames: LabelledFrames
    scores: Scores
    goal_accuracy: GoalAccuracy
    threshold: float
    rivals: Mapping[int, RivalScores] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def threshold_chosen(self) -> bool:
        """Whether β was chosen to maximise F1 on these frames, which is optimistic."""
        return self.config.threshold_in_force is None

    @property
    def head(self) -> str:
        """The head's settings as text."""
        return self.config.how

    @property
    def are_probabilities(self) -> bool:
        """Whether a score of 0.8 claims that 80 % of such frames are a success."""
        return self.config.gives_probability


def score_labelled(
    config: VLMRewardConfig,
    frames: LabelledFrames,
    *,
    encoder: str | None = None,
    device: str = "cpu",
) -> ScoredFrames:
    """Score labelled frames one by one; ``window`` and ``scored_steps`` are ignored.

    Args:
        config: the reward.
        frames: N frames.
        encoder: replaces the configuration's encoder.
        device: where the CLIP computes, such as ``"cpu"`` or ``"cuda"``.

    Raises:
        GoalError: the frames have goals that the configuration lacks.
        CheckpointError, FrameError, RewardError: see :meth:`.CLIPEncoder.load` and
            :meth:`.RewardModel.score`.

    Example:
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> scored = score_labelled(config, frames)
        >>> scored.scores.shape, scored.threshold
        ((2,), 0.5)
    """
    if encoder is not None:
        config = with_encoder(config, encoder)
    indices_of(frames, config.goal_set)
    return score_with_model(load_model(config, frames=len(frames), device=device), config, frames)


def score_with_model(
    model: RewardModel, config: VLMRewardConfig, frames: LabelledFrames
) -> ScoredFrames:
    """Score labelled frames with a model that is already loaded; see :func:`score_labelled`."""
    config.check_weights(model.encoder.fingerprint)
    scorer = config.scorer
    goals = indices_of(frames, scorer.goals)
    check_precision(model, config, frames)
    scores = score_frames(model, scorer, frames, goals)
    rivals = score_rivals(model, scorer, frames, goals)
    return _scored(config, model.encoder.fingerprint, frames, scores, rivals)


def combine_experts(config: VLMRewardConfig, experts: Mapping[str, ScoredFrames]) -> ScoredFrames:
    """Combine the scores of experts as a reward does.

    Args:
        config: the reward.
        experts: the same labelled frames, scored by each of its experts.

    Raises:
        LabelError: the reward has a calibration of other weights.
        RewardError: the experts see other frames.
    """
    config.one_source("labelled frames")
    every = [experts[name] for name in config.by_expert]
    for name, each in zip(config.by_expert, every, strict=True):
        config.check_weights(each.fingerprint, name)
    frames, combiner = every[0].frames, config.combiner
    scores = combiner(
        np.stack([each.scores for each in every], axis=1), indices_of(frames, config.goal_set)
    )
    rivals = {}
    for goal, first in every[0].rivals.items():
        others = [each.rivals.get(goal) for each in every]
        same = [each for each in others if each is not None and each.goals == first.goals]
        if len(same) < len(every):
            continue  # templates of their own make other goals alike
        columns = [
            combiner(
                np.stack([each.scores[:, place] for each in same], axis=1),
                np.full(len(first.rows), index),
            )
            for place, index in enumerate(first.goals)
        ]
        combined = np.stack(columns, axis=1).astype(np.float32)
        rivals[goal] = dataclasses.replace(first, scores=combined)
    fingerprint = " ".join(each.fingerprint for each in every)
    return _scored(config, fingerprint, frames, scores.astype(np.float32), rivals)


def _scored(
    config: VLMRewardConfig,
    fingerprint: str,
    frames: LabelledFrames,
    scores: Scores,
    rivals: Mapping[int, RivalScores],
) -> ScoredFrames:
    threshold = config.threshold_in_force
    return ScoredFrames(
        config=config,
        fingerprint=fingerprint,
        frames=frames,
        scores=scores,
        goal_accuracy=goal_accuracy(rivals, config.goal_set.texts, len(frames)),
        threshold=best_threshold(scores, frames.labels) if threshold is None else threshold,
        rivals=rivals,
    )


def score_frames(
    model: RewardModel, scorer: Scorer, frames: LabelledFrames, goals: npt.NDArray[np.intp]
) -> Scores:
    """Return each frame's score against its goal, float32 ``[N]``.

    Args:
        model: the CLIP.
        scorer: goals and head.
        frames: N frames.
        goals: each frame's goal as its index, ``[N]``, see :func:`indices_of`.
    """
    parts = [model.score(pixels, goals[rows], scorer) for rows, pixels in frames.batches()]
    return np.concatenate(parts)


def with_encoder(config: VLMRewardConfig, encoder: str) -> VLMRewardConfig:
    """Return the reward with another encoder; a calibration of the old one is dropped.

    Example:
        >>> with_encoder(VLMRewardConfig(encoder="small", goals=["a {ball|key}"]), "base").encoder
        'base'
    """
    changes: dict[str, Any] = {"encoder": encoder}
    if encoder != config.encoder and config.calibration is not None:
        changes |= {**UNCALIBRATED, "threshold": None}
    return config.model_copy(update=changes)


def indices_of(frames: LabelledFrames, goals: GoalSet) -> npt.NDArray[np.intp]:
    """Return each frame's goal as its index in the goal set, ``[N]``.

    Raises:
        GoalError: the frames have goals that the set lacks; the message names them.

    Example:
        >>> frames = LabelledFrames.of([b"", b""], ["a key", "a ball"], [True, False])
        >>> indices_of(frames, GoalSet.from_texts(["a ball", "a key"])).tolist()
        [1, 0]
    """
    unknown = sorted({*frames.goals} - {*goals.texts})
    if unknown:
        close = difflib.get_close_matches(unknown[0], goals.texts, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It has {goals.excerpt}."
        raise GoalError(
            f"labelled frames: got {len(unknown)} goals that the configuration lacks, "
            f"{unknown[:5]}, expected some of the configuration's {len(goals)}. {hint} Add them "
            "to `goals`, or leave these frames out."
        )
    return np.array([goals.index(goal) for goal in frames.goals], np.intp)


def unseen_goals(frames: LabelledFrames, config: VLMRewardConfig) -> tuple[str, ...]:
    """Return the training goals that no frame has.

    Example:
        >>> frames = LabelledFrames.of([b""], ["a key"], [True])
        >>> unseen_goals(frames, VLMRewardConfig(encoder="small", goals=["a {key|ball|box}"]))
        ('a ball', 'a box')
    """
    seen = {*frames.goals}
    return tuple(text for text in config.training_goals.texts if text not in seen)


def best_threshold(scores: Scores, labels: npt.NDArray[np.bool_]) -> float:
    """Return the β with the best F1; without any success, the highest score.

    β lies halfway between two scores, since a reward fires above β and not at β.

    Example:
        >>> best_threshold(np.array([0.1, 0.5, 0.9]), np.array([False, False, True]))
        0.7
    """
    if not labels.any():
        return float(scores.max())
    curve = precision_recall(scores, labels)
    with np.errstate(invalid="ignore"):
        f1 = 2 * curve.precision * curve.recall / (curve.precision + curve.recall)
    best = int(np.nan_to_num(f1).argmax())
    if best == 0:
        return float(np.nextafter(curve.thresholds[0], -np.inf))
    return float(curve.thresholds[best - 1 : best + 1].astype(np.float64).mean())
