"""The threshold of a reward, and its temperature, from labelled frames."""

import dataclasses
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from rllib_vlm_reward.calibration import Calibration, Estimate, Target
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.evaluation.cosines import OF_SOFTMAX, Cosines
from rllib_vlm_reward.evaluation.judged import indices_of, score_frames, unseen_goals
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.models import load_model
from rllib_vlm_reward.evaluation.threshold import choose_threshold
from rllib_vlm_reward.metrics.bootstrap import Interval, bootstrap
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.reward_model.scorer import Scorer

__all__ = ["calibrate", "fit_temperature"]

_TEMPERATURES = (1e-3, 10.0)
_SMALLEST = 1e-7  # a float32 is no nearer to 1

Labels = npt.NDArray[np.bool_]


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
    model = load_model(config, frames=len(frames), device=device)
    if temperature:
        batches = (pixels for _, pixels in frames.batches())
        cosines = Cosines.of(model, Scorer.from_config(config), goals, batches)
        fitted = fit_temperature(cosines, frames.labels)
        # An older calibration, of another temperature, is left behind.
        older = {"calibration": None, "threshold": config.threshold}
        config = config.model_copy(update={**older, "temperature": fitted})
    scorer = Scorer.from_config(config)
    scores = score_frames(model, scorer, frames, goals)
    episodes = frames.episode_indices
    found = choose_threshold(scores, frames.labels, episodes, target)
    return Calibration(
        version=1,
        encoder=config.encoder,
        weights=model.encoder.fingerprint,
        encoder_precision=model.precision(scorer),
        frame_source=config.frame_source,
        head=config.head,
        alpha=config.alpha if config.head == "goal_baseline" else None,
        temperature=config.temperature,
        goals=config.goal_set.texts,
        unseen_goals=unseen_goals(frames, config),
        statements=config.goal_set.statements,
        goals_sha256=config.goal_set.fingerprint,
        threshold=_estimate(found),
        target=target,
        **_achieved(Fires.at(found.value, scores, frames.labels, episodes)),
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
    if temperature and config.head not in OF_SOFTMAX:
        raise LabelError(
            f"calibrate: got the head {config.head!r}, which has no temperature, expected one of "
            f"{OF_SOFTMAX}. Leave --temperature out."
        )


def _achieved(fires: Fires) -> dict[str, Estimate]:
    names = ("precision", "recall", "false_positives")
    episodes = np.arange(len(fires))
    return {name: _estimate(bootstrap(partial(fires.of, name), episodes)) for name in names}


def _estimate(interval: Interval) -> Estimate:
    return Estimate(**dataclasses.asdict(interval))
