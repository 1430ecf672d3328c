"""The threshold of a reward, and its temperature, from labelled frames."""

import dataclasses
import math
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from rllib_vlm_reward.config import (
    Calibration,
    Estimate,
    Target,
    TrustCalibration,
    VLMRewardConfig,
)
from rllib_vlm_reward.config.calibration import VERSION, Combination, TrustedExpert
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.evaluation.cosines import Cosines
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.models import check_precision, load_model, with_each_model
from rllib_vlm_reward.evaluation.scored_frames import (
    UNCALIBRATED,
    indices_of,
    score_frames,
    unseen_goals,
)
from rllib_vlm_reward.evaluation.trust import Evidence, TrustFit, fit_trust
from rllib_vlm_reward.metrics.bootstrap import REPEATS, Interval, bootstrap
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.reward_model.combiner import plain_evidence
from rllib_vlm_reward.reward_model.heads import head_summary
from rllib_vlm_reward.reward_model.model import RewardModel

__all__ = ["calibrate", "calibrate_experts", "choose_threshold", "fit_temperature"]

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]
Episodes = npt.NDArray[np.integer]
Counts = npt.NDArray[np.float64]

_MOST_CANDIDATES = 500
_FEWEST = 10  # episodes with a success
_TAILS = (0.025, 0.975)
_TEMPERATURES = (1e-3, 10.0)
_SMALLEST = 1e-7  # float32's resolution near 1; avoids log(0)


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
        config: the reward; its threshold is ignored.
        frames: labelled frames whose goals are among the reward's.
        target: what β must reach with confidence, see :func:`choose_threshold`.
        temperature: first choose τ, by :func:`fit_temperature`, then β at that τ.
        device: where the CLIP computes, such as ``"cpu"`` or ``"cuda"``.

    Returns:
        β, and the precision, recall and false positives per episode that it has on these frames.

    Raises:
        LabelError: :func:`choose_threshold` finds no β, the reward has a window of several
            frames, or ``temperature`` is set and the head has none.
        GoalError: a frame's goal is not among the reward's.
        CheckpointError: see :meth:`.CLIPEncoder.load`.
    """
    config.expect_one_encoder("calibrate")
    _check(config, temperature)
    goals = indices_of(frames, config.goal_set)
    model = load_model(config, frames=len(frames), device=device)
    if temperature:
        batches = (pixels for _, pixels in frames.batches())
        cosines = Cosines.of(model, config.scorer, goals, batches)
        fitted = fit_temperature(cosines, frames.labels)
        head = dataclasses.replace(config.head, **{"temperature": fitted})
        config = config.model_copy(update={**UNCALIBRATED, "head": head})
    scorer = config.scorer
    check_precision(model, config, frames)
    scores = score_frames(model, scorer, frames, goals)
    episodes = frames.episode_indices
    threshold = choose_threshold(scores, frames.labels, episodes, target)
    return Calibration(
        version=VERSION,
        encoder=config.encoder,
        weights=model.encoder.fingerprint,
        encoder_precision=model.precision(scorer),
        frame_source=config.frames.source,
        head=head_summary(scorer.head),
        head_sha256=scorer.head.digest(),
        temperature=getattr(scorer.head, "temperature", None),
        goals=config.goal_set.texts,
        unseen_goals=unseen_goals(frames, config),
        statements=config.goal_set.statements,
        goals_sha256=config.goal_set.fingerprint,
        threshold=_estimate(threshold),
        target=target,
        **_achieved(Fires.at(threshold.value, scores, frames.labels, episodes)),
        frames=len(frames),
        successes=int(frames.labels.sum()),
        episodes=int(episodes.max()) + 1,
    )


def calibrate_experts(
    config: VLMRewardConfig, frames: LabelledFrames, target: Target, *, device: str = "cpu"
) -> TrustCalibration:
    """Choose whom of several experts to trust for each goal, and β on their combined score.

    β and what it reaches are measured on scores of weights that were fitted without the frame's
    episode, see :func:`.fit_trust`.

    Args:
        config: the reward, with experts; its threshold and calibration are ignored.
        frames: labelled frames whose goals are among the reward's.
        target: what β must reach with confidence, see :func:`choose_threshold`.
        device: where the CLIPs compute, such as ``"cpu"`` or ``"cuda"``.

    Raises:
        LabelError: :func:`choose_threshold` finds no β for all experts together, or the reward has
            a window of several frames.
        GoalError: a frame's goal is not among the reward's.
        RewardError: the experts see other frames.
        CheckpointError: see :meth:`.CLIPEncoder.load`.
    """
    _check(config, temperature=False)
    config = config.model_copy(update={"calibration": None, "threshold": None})
    source = config.one_source("calibrate")
    goals, episodes = indices_of(frames, config.goal_set), frames.episode_indices

    def score(name: str, model: RewardModel) -> tuple[Scores, str, str]:
        reward = config.by_expert[name]
        check_precision(model, reward, frames)
        scores = score_frames(model, reward.scorer, frames, goals)
        return scores, model.encoder.fingerprint, model.precision(reward.scorer)

    scored = with_each_model(config.by_expert, score, frames=len(frames), device=device)
    probabilities = [each.head.is_probability for each in config.by_expert.values()]
    plain = plain_evidence(np.stack([scores for scores, *_ in scored.values()], 1), probabilities)
    centers, scales = plain.mean(axis=0), plain.std(axis=0)
    scales[scales == 0] = 1.0  # a constant says nothing
    families = [goal.family for goal in config.goal_set.goals]
    evidence = Evidence((plain - centers) / scales, frames.labels, goals, episodes, families)
    fits = fit_trust(evidence)
    held_out = fits[0].held_out.astype(np.float32)
    threshold = choose_threshold(held_out, frames.labels, episodes, target)
    names = [*config.by_expert]
    experts = {
        name: TrustedExpert(
            encoder=reward.encoder,
            weights=weights,
            encoder_precision=precision,
            frame_source=source,
            head=head_summary(reward.head),
            head_sha256=reward.head.digest(),
            goals_sha256=reward.goal_set.fingerprint,
            probability=reward.head.is_probability,
            center=float(centers[place]),
            scale=float(scales[place]),
            average_precision=average_precision(scores, frames.labels),
        )
        for place, ((name, reward), (scores, weights, precision)) in enumerate(
            zip(config.by_expert.items(), scored.values(), strict=True)
        )
    }
    return TrustCalibration(
        version=VERSION,
        experts=experts,
        combinations=tuple(
            _combination(fit, names, config, evidence, threshold.value, target) for fit in fits
        ),
        goals=config.goal_set.texts,
        unseen_goals=unseen_goals(frames, config),
        threshold=_estimate(threshold),
        target=target,
        **_achieved(Fires.at(threshold.value, held_out, frames.labels, episodes)),
        frames=len(frames),
        successes=int(frames.labels.sum()),
        episodes=int(episodes.max()) + 1,
    )


def _combination(
    fit: TrustFit,
    names: list[str],
    config: VLMRewardConfig,
    evidence: Evidence,
    threshold: float,
    target: Target,
) -> Combination:
    """Return a fit for the file, with the β at which it reaches the target if there is one."""
    held_out, reached = fit.held_out.astype(np.float32), True
    if len(fit.experts) < len(names):
        try:
            own = choose_threshold(held_out, evidence.labels, evidence.episodes, target)
            threshold = own.value
        except LabelError:
            reached = False
    return Combination(
        experts=tuple(names[place] for place in fit.experts),
        families={family: tuple(numbers.tolist()) for family, numbers in fit.families.items()},
        goals={
            config.goal_set[goal].text: tuple(numbers.tolist())
            for goal, numbers in fit.goals.items()
        },
        threshold=threshold,
        reached=reached,
        average_precision=average_precision(held_out, evidence.labels),
    )


def fit_temperature(cosines: Cosines, labels: Labels) -> float:
    """Return the τ at which the softmax predicts the labels best.

    Temperature scaling (Guo et al., arXiv 1706.04599) minimises the mean of -log p over successes
    and -log(1 - p) over the other frames, with τ between 0.001 and 10.

    Args:
        cosines: the cosines of N frames.
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
        p = cosines.probabilities(float(np.exp(log_temperature)))[rows, cosines.prompt_index]
        right = np.where(labels, p, 1 - p)
        return float(-np.log(np.maximum(right, _SMALLEST)).mean())

    optimum = minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(optimum.x))


def _check(config: VLMRewardConfig, temperature: bool) -> None:
    if config.frames.window > 1:
        raise LabelError(
            f"calibrate: got a window of {config.frames.window} frames, expected 1, since labelled "
            "frames are scored one by one. Set frames: {window: 1}."
        )
    if temperature and not config.head.has_temperature:
        raise LabelError(
            f"calibrate: got the head {head_summary(config.head)!r}, which has no temperature, "
            "expected one with a softmax. Leave --temperature out."
        )


def _achieved(fires: Fires) -> dict[str, Estimate]:
    names = ("precision", "recall", "false_positives")
    episodes = np.arange(len(fires))
    return {name: _estimate(bootstrap(partial(fires.of, name), episodes)) for name in names}


def _estimate(interval: Interval) -> Estimate:
    return Estimate(**dataclasses.asdict(interval))


def choose_threshold(
    scores: Scores, labels: Labels, episodes: Episodes, target: Target
) -> Interval:
    """Return the β with the largest recall that reaches the target with confidence.

    Two conditions hold. At most 2.5 % of 500 draws of the episodes (the bootstrap of
    :mod:`rllib_vlm_reward.metrics`) miss the target. And there are enough episodes: 3 / (1 -
    precision) in which something fires, or 3 / false positives in all (the rule of three, Hanley
    and Lippman-Hand, 1983), since a bootstrap of a few episodes without errors shows no error.

    Args:
        scores: float32 ``[N]``.
        labels: bool ``[N]``, true where a frame shows its goal.
        episodes: each frame's episode, integer ``[N]``.
        target: see :class:`.Target`.

    Returns:
        β in [0, 1], halfway between the score of a success and the next lower score. The interval
        is where 95 % of the draws first reach the target.

    Raises:
        LabelError: there are too few episodes, or no β reaches the target.

    Example:
        >>> scores = np.tile(np.float32([0.1, 0.2, 0.8]), 100)
        >>> labels = np.tile([False, False, True], 100)
        >>> found = choose_threshold(
        ...     scores, labels, np.arange(300) // 3, Target(precision=0.95)
        ... )
        >>> round(found.value, 3)
        0.5
    """
    episodes = np.unique(episodes, return_inverse=True)[1]
    succeeded = len(np.unique(episodes[labels]))
    if succeeded < _FEWEST:
        raise LabelError(
            f"calibrate: got {succeeded} episodes with a success, expected at least {_FEWEST}. "
            "Collect more, with a player that succeeds."
        )
    thresholds = _candidates(scores, labels)
    counted = _Counted.of(thresholds, scores, labels, episodes)
    enough = counted.episodes(target) >= _enough(target)
    if not enough.any():
        raise LabelError(_too_few(len(counted.fires), int(counted.episodes(target).max()), target))
    drawn = counted.drawn(target)
    bounds = np.quantile(drawn, _TAILS, axis=0)
    sure = target.reached(bounds[0 if target.name == "precision" else 1]) & enough
    if not sure.any():
        raise LabelError(_out_of_reach(thresholds, counted.value(target), bounds, enough, target))
    reached = target.reached(drawn)
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), len(thresholds) - 1)
    low, high = np.quantile(thresholds[first], _TAILS)
    return Interval(float(thresholds[sure.argmax()]), float(low), float(high))


def _out_of_reach(
    thresholds: Scores, value: Counts, bounds: Counts, enough: Labels, target: Target
) -> str:
    low, high = bounds
    nearest = int(np.where(enough, low if target.name == "precision" else -high, -np.inf).argmax())
    return (
        f"calibrate: no threshold in [0, 1] reaches {target.name} {target.value} with confidence. "
        f"The best has {target.name} {value[nearest]:.3f} (95 % interval {low[nearest]:.3f} to "
        f"{high[nearest]:.3f}) at β = {thresholds[nearest]:.4g}. Collect more frames if the "
        "interval is wide, else try another template, more negatives or a better CLIP: "
        "`rllib-vlm-reward evaluate` shows what is wrong."
    )


def _too_few(episodes: int, counted: int, target: Target) -> str:
    of_which, or_else = "", ""
    if target.name == "precision":
        of_which = f" in which something fires, of {episodes}"
        or_else = ", or with a player that succeeds more often"
    times = _enough(target) / counted
    return (
        f"calibrate: got {counted} episodes{of_which}, expected {_enough(target)} to be sure of "
        f"{target.name} {target.value}. Collect about {math.ceil(episodes * times)} in all, "
        f"{times:.1f} times as many `--episodes`{or_else}."
    )


def _enough(target: Target) -> int:
    tolerated = 1 - target.value if target.name == "precision" else target.value
    return math.ceil(3 / tolerated - 1e-9)


def _candidates(scores: Scores, labels: Labels) -> Scores:
    """Return thresholds between neighbouring scores, each just under a success, ascending."""
    distinct = np.unique(scores)
    below, above = distinct[:-1], distinct[1:]
    middles = below + (above - below) / 2
    middles = np.where(middles < above, middles, below)  # no float lies between neighbours
    chosen = np.unique(scores[labels])
    if len(chosen) > _MOST_CANDIDATES:
        shares = np.linspace(0, 1, _MOST_CANDIDATES)
        chosen = np.unique(np.quantile(scores[labels], shares, method="nearest"))
    places = np.searchsorted(distinct, chosen) - 1
    thresholds: Scores = middles[places[places >= 0]]
    thresholds = thresholds[(thresholds >= 0) & (thresholds <= 1)]
    if not len(thresholds):
        raise LabelError(
            f"calibrate: got {len(distinct)} distinct scores from {distinct[0]:.4f} to "
            f"{distinct[-1]:.4f}, expected some threshold in [0, 1] to lie under a success and "
            "above another frame. Choose another head or CLIP."
        )
    return thresholds


@dataclasses.dataclass(frozen=True)
class _Counted:
    """How many frames score above each of C thresholds in each of E episodes.

    Attributes:
        right: the number of them that are a success, float64 ``[E, C]``.
        fires: the number of all of them, float64 ``[E, C]``.
    """

    right: Counts
    fires: Counts

    @classmethod
    def of(
        cls, thresholds: Scores, scores: Scores, labels: Labels, episodes: Episodes
    ) -> "_Counted":
        # A frame fires at all thresholds below its score.
        below = np.searchsorted(thresholds, scores)
        counts = np.zeros((2, episodes.max() + 1, len(thresholds) + 1))
        np.add.at(counts, (labels.astype(int), episodes, below), 1)
        wrong, right = counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]
        return cls(right, right + wrong)

    def episodes(self, target: Target) -> Counts:
        """Return how many episodes count for the target at each threshold, ``[C]``."""
        each = self.fires > 0 if target.name == "precision" else np.ones_like(self.fires)
        return np.asarray(each.sum(axis=0))

    def value(self, target: Target) -> Counts:
        """Return the target's figure at each threshold, ``[C]``."""
        return np.asarray(self._figure(np.ones((1, len(self.fires))), target)[0])

    def drawn(self, target: Target) -> Counts:
        """Return the target's figure in each draw of the episodes, ``[R, C]``."""
        rng, number = np.random.default_rng(0), len(self.fires)
        draws = (rng.integers(number, size=number) for _ in range(REPEATS))
        weights = np.stack([np.bincount(draw, minlength=number) for draw in draws])
        return self._figure(weights.astype(np.float64), target)

    def _figure(self, weights: Counts, target: Target) -> Counts:
        right, fires = weights @ self.right, weights @ self.fires
        if target.name == "false_positives":
            return np.asarray((fires - right) / len(self.fires))
        # A draw may hold none of the few episodes that fire.
        return np.divide(right, fires, out=np.zeros_like(fires), where=fires > 0)
