"""The threshold for a target: held against brute force, and against fresh episodes."""

import numpy as np
import pytest

from rllib_vlm_reward.config import Target
from rllib_vlm_reward.errors import LabelError
from rllib_vlm_reward.evaluation.calibrate import choose_threshold
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.fires import Fires

TARGETS = [Target(precision=0.9), Target(false_positives=0.1)]


def world(seed, episodes=100, steps=8):
    """Scores of which some failures' are high, more so in some episodes; float32 as CLIP's."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(episodes), steps)
    labels = rng.random(len(number)) < 0.25
    logits = rng.normal(size=len(number)) + rng.normal(0, 0.5, episodes)[number] + 4 * labels - 3
    return (1 / (1 + np.exp(-logits))).astype(np.float32).round(2), labels, number


def bound(threshold, target, scores, labels, episodes):
    """The end of the interval that must reach the target."""
    fired = scores > np.float32(threshold)
    if target.name == "precision":
        return bootstrap(lambda rows: labels[rows][fired[rows]].mean(), episodes).low
    wrong, number = fired & ~labels, len(np.unique(episodes))
    return bootstrap(lambda rows: wrong[rows].sum() / number, episodes).high


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_is_the_lowest_of_all_that_are_sure(target):
    scores, labels, episodes = world(0)
    found = choose_threshold(scores, labels, episodes, target).value
    distinct = np.unique(scores)
    middles = (distinct[:-1] + distinct[1:]) / 2
    under = [
        m for m, above in zip(middles, distinct[1:], strict=True) if labels[scores == above].any()
    ]
    sign = 1 if target.name == "precision" else -1
    sure = [
        threshold
        for threshold in under
        if sign * (bound(threshold, target, scores, labels, episodes) - target.value) >= 0
        and len(np.unique(episodes[scores > threshold])) >= 30
    ]
    assert found == pytest.approx(min(sure))
    assert found not in scores


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_it_holds_in_fresh_episodes(target):
    held = 0
    for seed in range(20):
        found = choose_threshold(*world(seed), target).value
        fires = Fires.at(found, *world(1000 + seed, episodes=2000))
        reached = getattr(fires, target.name)
        held += reached >= 0.9 if target.name == "precision" else reached <= 0.1
    assert held >= 17


def test_its_interval_covers_where_draws_reach_the_target():
    scores, labels, episodes = world(1)
    target = Target(precision=0.9)
    found = choose_threshold(scores, labels, episodes, target)
    assert found.low < found.high <= found.value + 1e-6
    full = choose_threshold(*world(1, episodes=2000), target)
    assert full.high - full.low < found.high - found.low


def test_order_and_names_of_episodes_play_no_part():
    scores, labels, episodes = world(2)
    order = np.random.default_rng(0).permutation(len(scores))
    one = choose_threshold(scores, labels, episodes, TARGETS[0])
    other = choose_threshold(scores[order], labels[order], episodes[order] * 3 + 7, TARGETS[0])
    assert one == other


def test_a_float32_between_two_neighbours_still_fires():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    scores, labels = np.tile([low, high], 100), np.tile([False, True], 100)
    found = choose_threshold(scores, labels, np.arange(200) // 2, Target(precision=0.95)).value
    np.testing.assert_array_equal(scores > found, labels)


def test_many_scores_are_thinned_out():
    scores, labels, episodes = world(3, episodes=1000)
    rng = np.random.default_rng(0)
    scores = (scores + rng.random(len(scores)) * 1e-3).astype(np.float32)
    found = choose_threshold(scores, labels, episodes, TARGETS[0]).value
    assert bound(found, TARGETS[0], scores, labels, episodes) >= 0.9


@pytest.mark.parametrize(
    ("episodes", "target", "says"),
    [
        (6, Target(precision=0.5), "episodes with a success, expected at least 10"),
        (40, Target(precision=0.95), "expected 60 to be sure of precision 0.95"),
        (40, Target(false_positives=0.05), "expected 60 to be sure of false_positives 0.05"),
        (40, Target(false_positives=0.05), "got 40 episodes, expected .* 60 in all, 1.5 times"),
    ],
)
def test_few_episodes_are_refused(episodes, target, says):
    scores, labels, numbers = world(0, episodes=episodes)
    with pytest.raises(LabelError, match=says):
        choose_threshold(labels.astype(np.float32) * 0.8 + scores / 10, labels, numbers, target)


def test_the_episodes_that_count_are_those_with_a_fire():
    scores = np.array([0.9, 0.1] * 12 + [0.1] * 12)  # two frames an episode
    labels, episodes = scores > 0.5, np.arange(36) // 2
    says = "got 12 episodes in which something fires, of 18, expected 30 .* 45 in all, 2.5 times"
    with pytest.raises(LabelError, match=says):
        choose_threshold(scores, labels, episodes, Target(precision=0.9))


def test_what_is_out_of_reach_is_said_with_the_best():
    scores, labels, episodes = world(0)
    shuffled = np.random.default_rng(0).permutation(scores)
    with pytest.raises(LabelError, match=r"confidence. The best has precision 0.\d+ \(.* at β = "):
        choose_threshold(shuffled, labels, episodes, Target(precision=0.9))


@pytest.mark.parametrize("scores", [np.full(800, 0.5), np.linspace(-0.9, -0.1, 800)])
def test_scores_that_no_threshold_parts_are_refused(scores):
    _, labels, episodes = world(0)
    with pytest.raises(LabelError, match=r"some threshold in \[0, 1\]"):
        choose_threshold(scores.astype(np.float32), labels, episodes, Target(precision=0.9))
