"""Is the reward worth a run? One word and a few sentences, from its figures."""

import dataclasses
from typing import Literal

import numpy as np

from rllib_vlm_reward.evaluation.figures import Figures
from rllib_vlm_reward.evaluation.goal_accuracy import GoalAccuracy
from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames, best_threshold, unseen_goals
from rllib_vlm_reward.reward_model.scorer import Scores

__all__ = ["ENOUGH_EPISODES", "GOOD", "MIN_AUROC", "MIN_GOAL_ACCURACY", "Kind", "Verdict", "decide"]

Kind = Literal["good", "poor", "nothing", "shuffled", "contrary", "constant", "too few"]

GOOD = 0.8
"""A reward is good if the interval of the average precision lies above this."""
MIN_AUROC = 0.65
"""A score separates success from failure only if AUROC's interval lies above this. The bar is not
0.5, since even random weights react to changes in a frame (docs/evaluation.md has the figures)."""
MIN_GOAL_ACCURACY = 0.25
"""A score distinguishes goals only if goal accuracy lies above chance + 0.25 · (1 - chance)."""
ENOUGH_EPISODES = 10
"""A verdict needs this many episodes with a success, and this many with a failure."""

_DISTINCT = 0.75
_NOISE = 1e-4
_MUCH = 0.1
_SHOWN = 2


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a reward is good, and why.

    Attributes:
        kind: ``good``; ``poor``: the score separates success from failure, but errs often;
            ``nothing``: it does not separate them; ``shuffled``: most goals' successes score
            highest for another goal; ``contrary``: failures score above successes; ``constant``:
            every frame of a goal has the same score; ``too few``: there are too few episodes for a
            verdict.
        sentence: the reason.
    """

    kind: Kind
    sentence: str


def decide(scored: ScoredFrames, figures: Figures) -> Verdict:
    """Return the verdict: the first of constant, too few, shuffled, contrary, nothing that holds.

    The sentence ends with the training goals that no frame has: the verdict does not cover them.

    Args:
        scored: the scored frames.
        figures: the figures of all these frames.

    Example:
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.figures import figures
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> from rllib_vlm_reward.evaluation.labelled import LabelledFrames
        >>> from rllib_vlm_reward.evaluation.scored_frames import score_labelled
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> scored = score_labelled(config, frames)
        >>> decide(scored, figures(scored)).sentence
        '1 successes in 1 episodes, and failures in 1: a verdict needs at least 10 episodes of \
each.'
    """
    verdict = _constant(scored) or _too_few(figures) or _shuffled(scored.goal_accuracy)
    verdict = verdict or _contrary(figures) or _nothing(figures) or _by_precision(scored, figures)
    return dataclasses.replace(verdict, sentence=verdict.sentence + _unseen(scored))


def _constant(scored: ScoredFrames) -> Verdict | None:
    goals, images = np.array(scored.frames.goals), np.array(scored.frames.images, object)
    differ = [rows for goal in np.unique(goals) if len({*images[rows := goals == goal]}) > 1]
    if not differ or not all(_alike(scored.scores[rows]) for rows in differ):
        return None
    score = f"{scored.scores[0]:.3g}" if _alike(scored.scores) else "the same as others of its goal"
    return Verdict(
        "constant",
        f"Each frame scores {score}, though the frames differ. Check the encoder and its weights, "
        "the prompts and the temperature.",
    )


def _alike(scores: Scores) -> bool:
    """Whether scores are equal, up to rounding, which depends on the batch size."""
    return bool(np.ptp(scores) <= _NOISE * np.abs(scores).max())


def _too_few(figures: Figures) -> Verdict | None:
    if figures.succeeded >= ENOUGH_EPISODES and figures.failed >= ENOUGH_EPISODES:
        return None
    return Verdict(
        "too few",
        f"{figures.successes} successes in {figures.succeeded} episodes, and failures in "
        f"{figures.failed}: a verdict needs at least {ENOUGH_EPISODES} episodes of each.",
    )


def _shuffled(accuracy: GoalAccuracy) -> Verdict | None:
    """Return shuffled if most goals are taken for other goals, nearly each for a different one.

    An uninformative score takes all goals for the same one or two.
    """
    taken = accuracy.taken_for
    if len(accuracy.mistaken) < 2 or 2 * len(accuracy.mistaken) < len(taken):
        return None
    if len(set(taken.values())) < _DISTINCT * len(taken):
        return None
    return Verdict("shuffled", f"Goals look shuffled: {_mistaken(accuracy)}.")


def _contrary(figures: Figures) -> Verdict | None:
    auroc = figures["auroc"]
    if not auroc.high < 1 - MIN_AUROC:
        return None
    return Verdict(
        "contrary",
        f"Failures score above successes, AUROC {auroc.value:.2f}. Check whether labels, or goal "
        "and baseline, are swapped.",
    )


def _nothing(figures: Figures) -> Verdict | None:
    precision, auroc = figures["average_precision"], figures["auroc"]
    accuracy, chance = figures["goal_accuracy"], figures.chance
    if not precision.low > figures.share:
        why = f"AP {precision.value:.2f}, where an uninformative score has {figures.share:.2f}"
    elif not auroc.low > MIN_AUROC:
        why = f"AUROC {auroc.value:.2f}, not reliably above {MIN_AUROC}"
    elif accuracy.low <= chance + MIN_GOAL_ACCURACY * (1 - chance):
        return Verdict(
            "nothing",
            "The score does not distinguish the goals: the right goal ranks first in "
            f"{accuracy.value:.0%} of the successes (chance: {chance:.0%}).",
        )
    else:
        return None
    return Verdict("nothing", f"The score does not separate success from failure: {why}.")


def _by_precision(scored: ScoredFrames, figures: Figures) -> Verdict:
    precision = figures["average_precision"]
    wrong, missed = figures["false_positives"].value, figures["missed_episodes"].value
    sentence = (
        f"AP {precision.value:.3f}; at β = {scored.threshold:.3g} there are {wrong:.2g} false "
        f"positives per episode, and {missed:.0%} of the episodes with a success are missed."
        + _better_threshold(scored)
    )
    if scored.goal_accuracy.mistaken:
        sentence += f" Look at the prompts: {_mistaken(scored.goal_accuracy)}."
    return Verdict("good" if precision.low > GOOD else "poor", sentence)


def _better_threshold(scored: ScoredFrames) -> str:
    better = best_threshold(scored.scores, scored.frames.labels)
    f1, better_f1 = _f1(scored, scored.threshold), _f1(scored, better)
    if better_f1 - f1 < _MUCH:
        return ""
    return (
        f" Another β is better: F1 is {f1:.2f} at this β, and {better_f1:.2f} at β = {better:.3g}. "
        "`rllib-vlm-reward calibrate` chooses one."
    )


def _unseen(scored: ScoredFrames) -> str:
    unseen, goals = unseen_goals(scored.frames, scored.config), scored.config.training_goals
    if not unseen:
        return ""
    shown = list(unseen[:_SHOWN])
    return f" {len(unseen)} of the {len(goals)} goals of training had no frame, such as {shown}."


def _f1(scored: ScoredFrames, threshold: float) -> float:
    fired, labels = scored.scores > threshold, scored.frames.labels
    return float(2 * (fired & labels).sum() / (fired.sum() + labels.sum()))


def _mistaken(accuracy: GoalAccuracy) -> str:
    mistaken = accuracy.mistaken
    shown = [f"frames of {a!r} score highest for {b!r}" for a, b in [*mistaken.items()][:_SHOWN]]
    rest = f", and {len(mistaken) - _SHOWN} more" if len(mistaken) > _SHOWN else ""
    return "; ".join(shown) + rest
