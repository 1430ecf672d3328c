"""What rewards say of frames in their order: along an episode, or over a grid of states."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.evaluation.cosines import Cosines
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores

__all__ = ["Line", "lines", "only_goal"]

_FRAMES_AT_ONCE = 256
_OTHERS = 2
_OF_SOFTMAX = ("softmax", "dense")

Numbers = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Line:
    """One reward's scores of N frames against one goal.

    Attributes:
        name: of the reward.
        config: of the reward.
        weights: SHA-256 of the CLIP's weights.
        scores: float32 ``[N]``.
        others: p of the other statements that come highest at any frame, at most two, each
            float32 ``[N]``; none for a head without a softmax.
    """

    name: str
    config: VLMRewardConfig
    weights: str
    scores: Scores
    others: Mapping[str, Numbers]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        keys = ("encoder", "head", "alpha", "temperature", "threshold")
        return {
            "name": self.name,
            **{key: getattr(self.config, key) for key in keys},
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
        CheckpointError, FrameError, RewardError: see :meth:`.CLIPEncoder.load` and
            :meth:`.RewardModel.score`.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a red {ball|key}"])
        >>> (line,) = lines({"run": config}, np.zeros((3, 8, 8, 3), np.uint8), "a red key")
        >>> line.scores.shape, list(line.others)
        ((3,), ['a red ball'])
    """
    return [_line(name, config, frames, goal, device) for name, config in rewards.items()]


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


def _line(name: str, config: VLMRewardConfig, frames: Frames, goal: str, device: str) -> Line:
    scorer = Scorer.from_config(config)
    index = scorer.goals.index(goal)
    encoder = CLIPEncoder.load(config.encoder, device=device, precision=config.precision)
    model = RewardModel(encoder)
    batches = [
        frames[begin : begin + _FRAMES_AT_ONCE] for begin in range(0, len(frames), _FRAMES_AT_ONCE)
    ]
    scores = [model.score(batch, np.full(len(batch), index), scorer) for batch in batches]
    others: dict[str, Numbers] = {}
    if config.head in _OF_SOFTMAX:
        indices = np.full(len(frames), index)
        others = _others(Cosines.of(encoder, scorer.goals, indices, batches), config.temperature)
    return Line(name, config, encoder.fingerprint, np.concatenate(scores), others)


def _others(cosines: Cosines, temperature: float | None) -> dict[str, Numbers]:
    shares = cosines.probabilities(temperature)
    highest = np.where(cosines.weighed[0], shares.max(axis=0), -1.0)
    highest[cosines.own[0]] = -1.0
    best = [int(i) for i in np.argsort(-highest, kind="stable")[:_OTHERS] if highest[i] >= 0]
    return {cosines.statements[i]: shares[:, i] for i in best}


def _plain(values: Numbers) -> list[float]:
    return [round(float(value), 6) for value in values]
