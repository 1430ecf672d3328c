"""What rewards say of frames in their order: along an episode, or over a grid of states."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.evaluation.cosines import OF_SOFTMAX, Cosines
from rllib_vlm_reward.evaluation.labelled import FRAMES_AT_ONCE
from rllib_vlm_reward.evaluation.models import with_each_model
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores

__all__ = ["Line", "lines", "only_goal"]

_OTHERS = 2

Numbers = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Line:
    """One reward's scores of N frames against one goal.

    Attributes:
        name: of the reward.
        config: of the reward.
        weights: SHA-256 of the CLIP's weights.
        scores: float32 ``[N]``.
        temperature: τ of the softmax; None for a head without one.
        others: p of the other statements that come highest at any frame, at most two, each
            float32 ``[N]``; none for a head without a softmax.
    """

    name: str
    config: VLMRewardConfig
    weights: str
    scores: Scores
    temperature: float | None
    others: Mapping[str, Numbers]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, with the settings that the head reads."""
        config = self.config
        read: dict[str, float] = {"alpha": config.alpha} if config.head == "goal_baseline" else {}
        if self.temperature is not None:
            read["temperature"] = self.temperature
        return {
            "name": self.name,
            "encoder": config.encoder,
            "head": config.head,
            **read,
            "threshold": config.threshold,
            "weights": self.weights,
            "scores": _plain(self.scores),
            "others": {text: _plain(values) for text, values in self.others.items()},
        }


def lines(
    rewards: Mapping[str, VLMRewardConfig], frames: Frames, goal: str, *, device: str = "cpu"
) -> list[Line]:
    """Score frames against a goal with each reward.

    Args:
        rewards: by name, see :func:`.contenders`.
        frames: uint8 ``[N, H, W, 3]``.
        goal: its text, in each reward's goals.
        device: of the CLIPs.

    Raises:
        GoalError: a reward does not have the goal.
        LabelError: a reward's calibration is of other weights.
        CheckpointError, FrameError, RewardError: see :meth:`.CLIPEncoder.load` and
            :meth:`.RewardModel.score`.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a red {ball|key}"])
        >>> (line,) = lines({"run": config}, np.zeros((3, 8, 8, 3), np.uint8), "a red key")
        >>> line.scores.shape, list(line.others)
        ((3,), ['a red ball'])
    """
    drawn = with_each_model(
        rewards,
        lambda name, model: _line(name, model, rewards[name], frames, goal),
        frames=len(frames),
        device=device,
    )
    return list(drawn.values())


def only_goal(config: VLMRewardConfig, goal: str | None) -> str:
    """Return the goal that is asked for, or the only one.

    Raises:
        GoalError: there are several, or not the one that is asked for.

    Example:
        >>> only_goal(VLMRewardConfig(encoder="small", goals=["a key"], head="cosine"), None)
        'a key'
    """
    goals = config.goal_set
    if goal is None and len(goals) > 1:
        raise GoalError(
            f"goal: got none, expected one of {len(goals)}, since a state names none. Give --goal, "
            f"such as {goals.texts[0]!r}."
        )
    return goals[0 if goal is None else goals.index(goal)].text


def _line(
    name: str, model: RewardModel, config: VLMRewardConfig, frames: Frames, goal: str
) -> Line:
    config.check_weights(model.encoder.fingerprint)
    scorer = Scorer.from_config(config)
    indices = np.full(len(frames), scorer.goals.index(goal))
    batches = np.split(frames, [*range(FRAMES_AT_ONCE, len(frames), FRAMES_AT_ONCE)])
    scores = [model.score(batch, indices[: len(batch)], scorer) for batch in batches]
    temperature: float | None = None
    others: dict[str, Numbers] = {}
    if config.head in OF_SOFTMAX:
        cosines = Cosines.of(model, scorer, indices, batches)
        temperature = config.temperature or cosines.temperature
        others = _others(cosines, temperature)
    weights = model.encoder.fingerprint
    return Line(name, config, weights, np.concatenate(scores), temperature, others)


def _others(cosines: Cosines, temperature: float) -> dict[str, Numbers]:
    shares = cosines.probabilities(temperature)
    highest = np.where(cosines.weighed[0], shares.max(axis=0), -1.0)
    highest[cosines.own[0]] = -1.0
    best = [int(i) for i in np.argsort(-highest, kind="stable")[:_OTHERS] if highest[i] >= 0]
    return {cosines.statements[i]: shares[:, i] for i in best}


def _plain(values: Numbers) -> list[float]:
    return [round(float(value), 6) for value in values]
