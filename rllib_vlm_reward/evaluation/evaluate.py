"""Rewards side by side on the same frames."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.figures import Figures, by_family, by_goal, figures, or_none
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.models import with_each_model
from rllib_vlm_reward.evaluation.scored_frames import (
    ScoredFrames,
    indices_of,
    score_with_model,
    unseen_goals,
    with_encoder,
)
from rllib_vlm_reward.evaluation.verdict import Verdict, decide
from rllib_vlm_reward.metrics.reliability import reliability
from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.reward_model.model import RewardModel

__all__ = ["Assessment", "candidates", "evaluate", "ranked"]


@dataclasses.dataclass(frozen=True)
class Assessment:
    """One candidate: what it scored, its figures, and the verdict.

    Attributes:
        name: unique among the candidates.
        scored: the frames as it scores them.
    """

    name: str
    scored: ScoredFrames

    @cached_property
    def figures(self) -> Figures:
        """Of all frames."""
        return figures(self.scored)

    @cached_property
    def families(self) -> dict[str, Figures]:
        """Of each family's frames."""
        return by_family(self.scored)

    @cached_property
    def goals(self) -> dict[str, Figures]:
        """Of each goal's frames."""
        return by_goal(self.scored)

    @cached_property
    def verdict(self) -> Verdict:
        """What to think of it."""
        return decide(self.scored, self.figures)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON; None where a figure is not defined."""
        return {
            "name": self.name,
            "encoder": self.scored.config.encoder,
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
        told = reliability(self.scored.scores, self.scored.frames.labels)
        return {
            "edges": told.edges.tolist(),
            "frames": told.frames.tolist(),
            "predicted": [*map(or_none, told.predicted.tolist())],
            "observed": [*map(or_none, told.observed.tolist())],
        }


def candidates(
    configs: Mapping[Path, VLMRewardConfig], encoders: Sequence[str] = ()
) -> dict[str, VLMRewardConfig]:
    """Return each configuration with each encoder, by a name that tells them apart.

    Args:
        configs: by the file that each was read from.
        encoders: in place of the configurations' own; none leaves them.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
        >>> list(candidates({Path("run.yaml"): config}, ["small", "base"]))
        ['run, small', 'run, base']
    """
    pairs = [
        (path, with_encoder(config, encoder))
        for path, config in configs.items()
        for encoder in dict.fromkeys(encoders) or (config.encoder,)
    ]
    short = [f"{path.stem}, {_last_two(config.encoder)}" for path, config in pairs]
    return {
        name if short.count(name) == 1 else f"{path}, {config.encoder}": config
        for name, (path, config) in zip(short, pairs, strict=True)
    }


def evaluate(
    rewards: Mapping[str, VLMRewardConfig],
    frames: LabelledFrames,
    *,
    device: str = "cpu",
    report: Callable[[str], None] = lambda _: None,
    found: Callable[[Assessment], None] = lambda _: None,
) -> list[Assessment]:
    """Judge rewards by the same labelled frames, the best AP first.

    Rewards of one encoder and precision share the model, and each frame's embedding.

    Args:
        rewards: by name, see :func:`candidates`.
        frames: N frames.
        device: such as ``"cpu"`` or ``"cuda"``.
        report: told the name of what is scored next.
        found: given each assessment when it is made, in case a later one fails.

    Raises:
        GoalError: the frames have goals that a configuration lacks.
        CheckpointError, FrameError, RewardError: see :func:`.score_labelled`.

    Example:
        >>> from rllib_vlm_reward.evaluation.labelled import encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> [assessment.verdict.kind for assessment in evaluate({"run": config}, frames)]
        ['too few']
    """
    for config in rewards.values():
        check_encoder(config.encoder)
        indices_of(frames, config.goal_set)

    def assess(name: str, model: RewardModel) -> Assessment:
        assessment = Assessment(name, score_with_model(model, rewards[name], frames))
        found(assessment)
        return assessment

    assessments = with_each_model(rewards, assess, frames=len(frames), device=device, report=report)
    return ranked(assessments.values())


def ranked(assessments: Iterable[Assessment]) -> list[Assessment]:
    """Return the one of the best AP first."""
    return sorted(assessments, key=_worth, reverse=True)


def _last_two(encoder: str) -> str:
    return "/".join(encoder.rstrip("/").split("/")[-2:])


def _worth(assessment: Assessment) -> float:
    return float(np.nan_to_num(assessment.figures.average_precision.value, nan=-1))
