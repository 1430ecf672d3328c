"""Evaluates several rewards on the same frames."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.evaluation.figures import Figures, by_family, by_goal, figures, or_none
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.models import with_each_model
from rllib_vlm_reward.evaluation.scored_frames import (
    ScoredFrames,
    combine_experts,
    indices_of,
    score_with_model,
    unseen_goals,
    with_encoder,
)
from rllib_vlm_reward.evaluation.user_metrics import UserMetric, load_metrics
from rllib_vlm_reward.evaluation.verdict import Verdict, decide
from rllib_vlm_reward.metrics.metric import Metric
from rllib_vlm_reward.metrics.reliability import reliability
from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.reward_model.model import RewardModel

__all__ = ["Assessment", "candidates", "evaluate", "expect_same_source", "ranked"]


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One candidate: the frames that it scored, the figures, and the verdict.

    Figures are computed when they are first read.

    Attributes:
        name: unique among the candidates.
        scored: the frames with this candidate's scores.
        metrics: the user's metrics, by import path.
    """

    name: str
    scored: ScoredFrames
    metrics: Mapping[str, UserMetric] = dataclasses.field(default_factory=dict)

    @cached_property
    def figures(self) -> Figures:
        """The figures of all frames."""
        return figures(self.scored, metrics=self.metrics)

    @cached_property
    def families(self) -> dict[str, Figures]:
        """The figures of each family's frames."""
        return by_family(self.scored, self.metrics)

    @cached_property
    def goals(self) -> dict[str, Figures]:
        """The figures of each goal's frames."""
        return by_goal(self.scored, self.metrics)

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict on the candidate."""
        return decide(self.scored, self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return settings, verdict and figures for JSON; None where a figure is not defined."""
        return {
            "name": self.name,
            "encoder": ", ".join(each.encoder for each in self.scored.config.by_expert.values()),
            "fingerprint": self.scored.fingerprint,
            "vlm_reward": self.scored.config.model_dump(mode="json", exclude_defaults=True),
            "threshold": self.scored.threshold,
            "threshold_chosen_here": self.scored.threshold_chosen,
            "verdict": dataclasses.asdict(self.verdict),
            "all": self.figures.to_dict(),
            "families": {name: each.to_dict() for name, each in self.families.items()},
            "goals": {name: each.to_dict() for name, each in self.goals.items()},
            "unseen_goals": unseen_goals(self.scored.frames, self.scored.config),
            "taken_for_another": self.scored.goal_accuracy.mistaken,
            "reliability": self._reliability,
        }

    @property
    def _reliability(self) -> dict[str, Any] | None:
        if not self.scored.are_probabilities:
            return None
        curve = reliability(self.scored.scores, self.scored.frames.labels)
        return {
            "edges": curve.edges.tolist(),
            "frames": curve.frames.tolist(),
            "predicted": [*map(or_none, curve.predicted.tolist())],
            "observed": [*map(or_none, curve.observed.tolist())],
        }


def candidates(
    configs: Mapping[Path, VLMRewardConfig], encoders: Sequence[str] = ()
) -> dict[str, VLMRewardConfig]:
    """Return each configuration with each encoder, by a unique name.

    A configuration with experts becomes one candidate for each expert, one for the mean of their
    scores if that has a meaning, and one for how it combines them.

    Args:
        configs: configurations by the file that each was read from.
        encoders: replace the encoders of the configurations; empty keeps these.

    Raises:
        RewardError: encoders are given, and a configuration has experts; or experts see other
            frames.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> list(candidates({Path("run.yaml"): config}, ["small", "base"]))
        ['run, small', 'run, base']
    """
    found = []
    for path, config in configs.items():
        if encoders:
            config.expect_one_encoder("--encoder")
        config.one_source("evaluate")
        if config.experts:
            found += [(path, name, name, each) for name, each in _with_experts(config).items()]
            continue
        for encoder in dict.fromkeys(encoders) or (config.encoder,):
            found.append((path, _last_two(encoder), encoder, with_encoder(config, encoder)))
    short = [f"{path.stem}, {name}" for path, name, *_ in found]
    return {
        name if short.count(name) == 1 else f"{path}, {full}": config
        for name, (path, _, full, config) in zip(short, found, strict=True)
    }


def _with_experts(config: VLMRewardConfig) -> dict[str, VLMRewardConfig]:
    """Return the experts of a reward, the mean of their scores, and their combination."""
    found, mean = dict(config.by_expert), config.with_mean()
    if mean is not None:
        found["mean"] = mean
    return {**found, config.combine if config.calibration is None else "coordinator": config}


def expect_same_source(rewards: Mapping[str, VLMRewardConfig]) -> None:
    """Check that the frames of one env, as the first reward sees them, are those of all rewards.

    Raises:
        RewardError: rewards have other frame sources.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> expect_same_source({"run": config, "other": config})
    """
    sources = {name: reward.sources[0] for name, reward in rewards.items()}
    if len(set(sources.values())) > 1:
        raise RewardError(
            f"frames.source: got {sources}, expected the same for all, since each reward scores "
            "the frames of one env as the first reward sees them. Set one for all, such as --set "
            f"vlm_reward.frames.source={next(iter(sources.values()))}, or run the command for each "
            "configuration."
        )


def evaluate(
    rewards: Mapping[str, VLMRewardConfig],
    frames: LabelledFrames,
    *,
    metrics: Iterable[str | Metric] = (),
    device: str = "cpu",
    report: Callable[[str], None] = lambda _: None,
    done: Callable[[Assessment], None] = lambda _: None,
) -> list[Assessment]:
    """Score the same labelled frames with each reward; the best AP comes first.

    Rewards with the same encoder and precision share the model, and each frame's embedding.

    Args:
        rewards: rewards by name, see :func:`candidates`.
        frames: N frames.
        metrics: the user's functions, or their import paths, see :class:`.Metric`. Each adds a
            figure under its import path, and is called about 300 times for all frames, for each
            family and for each goal.
        device: such as ``"cpu"`` or ``"cuda"``.
        report: called with the name of each candidate before it is scored.
        done: called with each assessment as soon as it is made, in case a later one fails.

    Returns:
        one assessment for each reward.

    Raises:
        GoalError: the frames have goals that a configuration lacks.
        ConfigError: a metric cannot be imported, raises, or returns no number.
        CheckpointError, FrameError, RewardError: see :func:`.score_labelled`; or experts see other
            frames.

    Example:
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> def highest(scores, labels, episodes):
        ...     return scores.max()
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> (assessment,) = evaluate({"run": config}, frames, metrics=[highest])
        >>> assessment.verdict.kind, [*assessment.metrics][0].rpartition(".")[2]
        ('too few', 'highest')
    """
    loaded = load_metrics(metrics)
    for metric in loaded.values():
        metric.try_out(frames)
    for config in rewards.values():
        config.one_source("evaluate")
        for encoder in config.encoders:
            check_encoder(*encoder)
        indices_of(frames, config.goal_set)
    alone = {name: config for name, config in rewards.items() if not config.experts}
    by_key, experts = {_key(config): name for name, config in alone.items()}, dict(alone)
    for name, config in rewards.items():
        for expert, each in config.by_expert.items():
            if _key(each) not in by_key:
                by_key[_key(each)] = key = f"{name}, {expert}"
                experts[key] = each
    assessments = []

    def assess(name: str, scored: ScoredFrames) -> None:
        assessments.append(Assessment(name, scored, loaded))
        done(assessments[-1])

    def score(name: str, model: RewardModel) -> ScoredFrames:
        scored = score_with_model(model, experts[name], frames)
        if name in alone:
            assess(name, scored)
        return scored

    scored = with_each_model(experts, score, frames=len(frames), device=device, report=report)
    for name, config in rewards.items():
        if config.experts:
            theirs = {e: scored[by_key[_key(each)]] for e, each in config.by_expert.items()}
            assess(name, combine_experts(config, theirs))
    return ranked(assessments)


def _key(config: VLMRewardConfig) -> tuple[Any, ...]:
    """Return what the scores of a reward with one encoder depend on."""
    return config.encoder, config.serving.precision, config.scorer.fingerprint


def ranked(assessments: Iterable[Assessment]) -> list[Assessment]:
    """Return assessments sorted by average precision, the best first."""
    return sorted(assessments, key=_average_precision, reverse=True)


def _last_two(encoder: str) -> str:
    return "/".join(encoder.rstrip("/").split("/")[-2:])


def _average_precision(assessment: Assessment) -> float:
    return float(np.nan_to_num(assessment.figures["average_precision"].value, nan=-1))
