"""The threshold of a reward, and its temperature, from labelled frames."""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from rllib_vlm_reward.calibration import Calibration, Estimate, Target
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.evaluation.cosines import Cosines
from rllib_vlm_reward.evaluation.judged import indices_of, score_frames
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.threshold import choose_threshold
from rllib_vlm_reward.metrics.bootstrap import Interval, bootstrap
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

__all__ = ["calibrate", "fit_temperature"]

_FRAMES_AT_ONCE = 256
_TEMPERATURES = (1e-3, 10.0)
_SMALLEST = 1e-7  # a float32 is no nearer to 1
_OF_SOFTMAX = ("softmax", "dense")

Labels = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


def calibrate(
    config: VLMRewardConfig,
    frames: LabelledFrames,
    target: Target,
    *,
    temperature: bool = False,
    device: str = "cpu",
) -> Calibration:
    """Choose β, and on request τ, for a reward on labelled frames.

    Args:
        config: the reward; its own threshold plays no part.
        frames: whose goals are among the reward's.
        target: what β must reach for sure, see :func:`.choose_threshold`.
        temperature: also choose τ, by :func:`fit_temperature`, and then β at that τ.
        device: of the CLIP, such as ``"cpu"`` or ``"cuda"``.

    Raises:
        LabelError: what :func:`.choose_threshold` refuses; a window of several frames; τ of a
            head that has none.
        GoalError: a frame's goal is not among the reward's.
        CheckpointError: see :meth:`.CLIPEncoder.load`.
    """
    _check(config, temperature)
    goals = indices_of(frames, config.goal_set)
    encoder = CLIPEncoder.load(config.encoder, device=device, precision=config.precision)
    if temperature:
        batches = (pixels for _, pixels in frames.batches(_FRAMES_AT_ONCE))
        cosines = Cosines.of(encoder, config.goal_set, goals, batches)
        fitted = fit_temperature(cosines, frames.labels)
        # An older calibration, of another temperature, is left behind.
        older = {"calibration": None, "threshold": config.threshold}
        config = config.model_copy(update={**older, "temperature": fitted})
    model, scorer = RewardModel(encoder), Scorer.from_config(config)
    scores = score_frames(model, scorer, frames, goals)
    episodes = frames.episode_indices
    found = choose_threshold(scores, frames.labels, episodes, target)
    return Calibration(
        version=1,
        encoder=config.encoder,
        weights=encoder.fingerprint,
        head=config.head,
        alpha=config.alpha if config.head == "goal_baseline" else None,
        temperature=config.temperature,
        goals=config.goal_set.texts,
        statements=config.goal_set.statements,
        goals_sha256=config.goal_set.fingerprint,
        threshold=_estimate(found),
        target=target,
        **_achieved(scores > found.value, frames.labels, episodes),
        frames=len(frames),
        successes=int(frames.labels.sum()),
        episodes=int(episodes.max()) + 1,
    )


def fit_temperature(cosines: Cosines, labels: Labels) -> float:
    """Return the τ at which the softmax's p is most likely to have made the labels.

    Temperature scaling (Guo et al., arXiv 1706.04599): the least mean of -log p over successes and
    -log(1 - p) over the others, with τ between 0.001 and 10.

    Args:
        cosines: of N frames.
        labels: bool ``[N]``, true where a frame shows its goal.

    Example:
        >>> values = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], np.float32)
        >>> every = np.ones((3, 2), bool)
        >>> cosines = Cosines(("a ball", "a key"), values, np.zeros(3, int), every, 0.01)
        >>> tau = fit_temperature(cosines, np.array([True, True, False]))
        >>> cosines.probabilities(tau)[:, 0].round(2)  # right in two of three
        array([0.67, 0.67, 0.67], dtype=float32)
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        p = cosines.probabilities(float(np.exp(log_temperature)))[rows, cosines.own]
        right = np.where(labels, p, 1 - p)
        return float(-np.log(np.maximum(right, _SMALLEST)).mean())

    found = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def _check(config: VLMRewardConfig, temperature: bool) -> None:
    if config.window > 1:
        raise LabelError(
            f"calibrate: got a window of {config.window} frames, expected 1, since labelled frames "
            "are scored one by one. Set window: 1."
        )
    if temperature and config.head not in _OF_SOFTMAX:
        raise LabelError(
            f"calibrate: got the head {config.head!r}, which has no temperature, expected one of "
            f"{_OF_SOFTMAX}. Leave --temperature out."
        )


def _achieved(fired: Labels, labels: Labels, episodes: Rows) -> dict[str, Estimate]:
    number = int(episodes.max()) + 1

    def share(part: Labels, whole: Labels) -> Estimate:
        return _estimate(bootstrap(lambda rows: _mean(part[rows][whole[rows]]), episodes))

    # A draw has as many episodes as there are, some of them twice.
    wrong = bootstrap(lambda rows: float((fired & ~labels)[rows].sum() / number), episodes)
    return {
        "precision": share(labels, fired),
        "recall": share(fired, labels),
        "false_positives": _estimate(wrong),
    }


def _mean(values: Labels) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _estimate(interval: Interval) -> Estimate:
    return Estimate(**dataclasses.asdict(interval))
