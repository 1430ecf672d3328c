"""A good reward is found from each wrong one within 1,000 frames, and with room to spare."""

import numpy as np
import pytest
from made_up import made_up_scores
from wrong_rewards import blind, mixed, shuffled, trained

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import score_labelled
from rllib_vlm_reward.evaluation.verdict import GOOD, MIN_GOAL_ACCURACY, decide
from rllib_vlm_reward.metrics.bootstrap import Interval

SEEDS = range(3)
CLIPS = ("base", "small")


def verdict_of(config, frames, encoder=None):
    scored = score_labelled(config, frames, encoder=encoder)
    found = figures(scored)
    return decide(scored, found), found


def knows(found: Interval, chance: float) -> float:
    """Return how far on the way from chance to 1."""
    return (found - chance) / (1 - chance)


@pytest.mark.parametrize("encoder", CLIPS)
@pytest.mark.parametrize("head", ["softmax", "cosine"])
def test_a_good_clip_is_good(quickstart, lift, encoder, head):
    config = quickstart.model_copy(update={"head": head})
    verdict, found = verdict_of(config, lift, encoder)
    assert verdict.kind == "good"
    assert found["average_precision"].low > GOOD + 0.1
    assert knows(found["goal_accuracy"].low, found.chance) > MIN_GOAL_ACCURACY + 0.5


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_weights_tell_nothing(quickstart, lift, changed_clip, clip, seed):
    verdict, found = verdict_of(quickstart, lift, changed_clip(clip, mixed(clip, seed)))
    assert verdict.kind == "nothing"
    # None of the bars is near: it would fail two of three alone.
    assert found["average_precision"].high < GOOD - 0.4
    assert knows(found["goal_accuracy"].low, found.chance) < MIN_GOAL_ACCURACY - 0.1


@pytest.mark.parametrize("clip", CLIPS)
def test_a_forgotten_checkpoint_tells_nothing(quickstart, lift, changed_clip, clip):
    folder = changed_clip(clip, trained(clip))
    verdict, found = verdict_of(quickstart, lift, f"{folder}/random")
    assert verdict.kind == "nothing"
    assert found["average_precision"].high < GOOD - 0.4
    assert knows(found["goal_accuracy"].low, found.chance) < MIN_GOAL_ACCURACY - 0.1


@pytest.mark.parametrize("head", ["softmax", "cosine"])
def test_a_blind_clip_is_constant(quickstart, lift, changed_clip, head):
    config = quickstart.model_copy(update={"head": head})
    verdict, found = verdict_of(config, lift, changed_clip("base", blind("base")))
    assert verdict.kind == "constant"
    assert np.isnan(found["epic_score"].value)
    assert found["auroc"].value == 0.5


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_goals_are_named(quickstart, lift, clip, seed):
    wrong = shuffled(quickstart, seed)
    verdict, found = verdict_of(wrong, lift, clip)
    assert verdict.kind == "shuffled"
    assert found["average_precision"].high < GOOD - 0.1
    assert found["goal_accuracy"].high < 0.1
    # Whose prompt describes the success of the goal named first?
    goal, other = verdict.sentence.split("'")[1], verdict.sentence.split("'")[3]
    prompts = {each.text: each.prompt for each in wrong.goals}
    assert prompts[other] == quickstart.goal_set[quickstart.goal_set.index(goal)].prompt


def test_random_weights_come_before_shuffled_goals(quickstart, lift, changed_clip):
    verdict, _ = verdict_of(shuffled(quickstart, 0), lift, changed_clip("base", mixed("base", 0)))
    assert verdict.kind == "nothing"


def test_two_swapped_goals_are_named_by_a_reward_that_is_good_else(quickstart, lift):
    goals = quickstart.goal_set.goals
    first, second = goals[0], goals[4]
    swapped = [
        {"text": goal.text, "prompt": {first: second, second: first}.get(goal, goal).prompt}
        for goal in goals
    ]
    config = VLMRewardConfig.model_validate({**quickstart.model_dump(), "goals": swapped})
    verdict, _ = verdict_of(config, lift)
    assert verdict.kind in ("good", "poor")
    assert f"frames of {first.text!r} score highest for {second.text!r}" in verdict.sentence
    assert f"frames of {second.text!r} score highest for {first.text!r}" in verdict.sentence


def test_swapped_labels_are_contrary(quickstart, lift):
    opposite = LabelledFrames.of(
        lift.images, lift.goals, ~lift.labels, episodes=lift.episodes, steps=lift.steps
    )
    assert verdict_of(quickstart, opposite)[0].kind == "contrary"


def test_few_successes_are_too_few(quickstart, lift):
    names = np.array(lift.episodes)
    succeeded = np.unique(names[lift.labels])
    nine = ~lift.labels | np.isin(names, succeeded[:9])
    verdict, _ = verdict_of(quickstart, lift.take(nine))
    assert verdict.kind == "too few"
    assert "in 9 episodes" in verdict.sentence
    assert "at least 10" in verdict.sentence
    ten = ~lift.labels | np.isin(names, succeeded[:10])
    assert verdict_of(quickstart, lift.take(ten))[0].kind == "good"


ONE = VLMRewardConfig(encoder="small", goals=["lift"], head="cosine", threshold=0.5)
LABELS = np.tile([True, False, False], 40)


def decided(scores, labels=LABELS, **more):
    scored = made_up_scores(ONE, scores, labels, **more)
    return decide(scored, figures(scored))


def test_a_single_goal_needs_no_other_for_a_verdict():
    noise = np.random.default_rng(0).normal(size=len(LABELS))
    assert decided(LABELS * 8 + noise).kind == "good"
    assert decided(LABELS * 1.5 + noise).kind == "poor"
    assert decided(noise).kind == "nothing"
    assert decided(LABELS * -8 + noise).kind == "contrary"


def test_a_threshold_that_does_not_suit_is_reported():
    far = decided(np.where(LABELS, 0.4, 0.1))
    assert far.kind == "good"
    assert "F1 is 0.00 at this β, and 1.00 at β = 0.25" in far.sentence
    assert "F1" not in decided(np.where(LABELS, 0.6, 0.1)).sentence


def test_the_verdict_says_how_often_the_reward_fires_wrongly():
    scores = np.where(LABELS, 0.9, 0.1)
    scores[[1, 2, 4, 5, 7, 8]] = 0.8  # 6 of the 120 frames, each an episode by itself
    assert "at β = 0.5 there are 0.05 false positives per episode" in decided(scores).sentence


def test_a_score_that_knows_only_the_goal_is_constant():
    config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
    goals = ["a ball", "a key"] * 60
    scored = made_up_scores(config, np.tile([0.25, 0.75], 60), LABELS, goals=goals)
    verdict = decide(scored, figures(scored))
    assert verdict.kind == "constant"
    assert "the same as others of its goal" in verdict.sentence


def test_a_rounding_error_does_not_make_a_score_vary():
    noise = np.random.default_rng(0).normal(size=len(LABELS))
    assert decided(0.5 + 1e-7 * noise).kind == "constant"
    assert decided(1e-9 * (1 + LABELS) * np.exp(0.01 * noise)).kind == "good"
