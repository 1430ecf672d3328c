"""Whom of several experts to trust: what the fit finds, and what it does with the useless."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from rllib_vlm_reward.evaluation.trust import Evidence, fit_trust, sets_of

FAMILIES = ["find {}", "find {}", "lift {}", "lift {}"]
# By family, how far a success moves the evidence of each expert.
STRENGTHS = {"find {}": [2.5, 0.5, 1.5], "lift {}": [0.5, 2.5, 1.5]}


def world(episodes=240, steps=6, spoil=None, seed=0):
    """Return two halves of frames: three experts, of whom one is better at each family."""
    rng = np.random.default_rng(seed)
    number = episodes * steps
    episode = np.arange(number) // steps
    goals = rng.integers(0, len(FAMILIES), episodes)[episode]
    labels = rng.random(number) < 0.2
    strengths = np.array([STRENGTHS[FAMILIES[goal]] for goal in goals])
    values = labels[:, None] * strengths + rng.normal(size=(number, 3))
    values += 0.5 * rng.normal(size=(episodes, 3))[episode]  # frames of an episode are alike
    if spoil == "permuted":  # what it says of other frames
        values[:, 2] = values[rng.permutation(number), 2]
    if spoil == "noise":
        values[:, 2] = rng.normal(size=number) + rng.normal(size=episodes)[episode]
    values = (values - values.mean(axis=0)) / values.std(axis=0)

    def half(rows):
        first = episode[rows].min()
        return Evidence(values[rows], labels[rows], goals[rows], episode[rows] - first, FAMILIES)

    return half(episode < episodes // 2), half(episode >= episodes // 2)


def logits(fit, evidence):
    numbers = np.array([fit.goals[goal] for goal in evidence.goals.tolist()])
    return numbers[:, 0] + (numbers[:, 1:] * evidence.values[:, list(fit.experts)]).sum(axis=1)


def precision(evidence, scores):
    return average_precision_score(evidence.labels, scores)


@pytest.fixture(scope="module")
def halves():
    return world()


@pytest.fixture(scope="module")
def fits(halves):
    return dict(zip(sets_of(3), fit_trust(halves[0]), strict=True))


def test_the_combination_beats_the_best_expert_and_the_mean_on_other_episodes(halves, fits):
    _, new = halves
    combined = precision(new, logits(fits[0, 1, 2], new))
    each = [precision(new, new.values[:, expert]) for expert in range(3)]
    assert combined >= max(each) + 0.1
    assert combined >= precision(new, new.values.mean(axis=1)) + 0.02


def test_it_trusts_the_expert_of_each_family(fits):
    goals = fits[0, 1, 2].goals
    find, lift = goals[0] + goals[1], goals[2] + goals[3]
    assert find[1] > 1.5 * find[2]
    assert lift[2] > 1.5 * lift[1]


@pytest.mark.parametrize("spoil", ["permuted", "noise"])
def test_a_useless_expert_loses_its_weight_and_costs_nothing(spoil):
    known, new = world(spoil=spoil)
    fits = dict(zip(sets_of(3), fit_trust(known), strict=True))
    weights = np.array([numbers[1:] for numbers in fits[0, 1, 2].goals.values()])
    assert weights[:, 2].sum() <= 0.05 * weights.sum()
    alone = precision(new, logits(fits[0, 1], new))
    assert precision(new, logits(fits[0, 1, 2], new)) >= alone - 0.005
    without = dataclasses.replace(known, values=known.values[:, :2])
    never_seen = fit_trust(without)[0]
    for goal, numbers in fits[0, 1, 2].goals.items():
        np.testing.assert_array_equal(numbers[:3], never_seen.goals[goal])


def test_one_that_is_left_alone_keeps_its_weight():
    known, _ = world(spoil="noise")
    fits = dict(zip(sets_of(3), fit_trust(known), strict=True))
    assert all(np.isfinite(numbers).all() for numbers in fits[(2,)].goals.values())
    assert set(fits) == {(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)}


def test_two_that_say_the_same_are_not_both_dropped(halves):
    known, _ = halves
    twice = known.values[:, [0, 1, 1]]
    both, *_ = fit_trust(Evidence(twice, known.labels, known.goals, known.episodes, FAMILIES))
    weights = np.array([numbers[1:] for numbers in both.goals.values()]).sum(axis=0)
    assert weights[0] > 0
    assert weights[1] + weights[2] > 0


def test_with_one_goal_it_is_scikit_learns_logistic_regression():
    rng = np.random.default_rng(1)
    labels = rng.random(400) < 0.3
    values = labels[:, None] * [1.0, 2.0] + rng.normal(size=(400, 2))
    zeros, episodes = np.zeros(400, int), np.arange(400)
    fit, *_ = fit_trust(Evidence(values, labels, zeros, episodes, ["find {}"]))
    known = LogisticRegression(C=1e6).fit(values, labels)
    expected = [*known.intercept_, *known.coef_[0]]
    np.testing.assert_allclose(fit.goals[0], expected, atol=0.03)


def test_weights_are_never_negative():
    rng = np.random.default_rng(2)
    labels = rng.random(600) < 0.3
    values = np.stack([labels + rng.normal(size=600), -2.0 * labels + rng.normal(size=600)], axis=1)
    zeros, episodes = np.zeros(600, int), np.arange(600) // 2
    for fit in fit_trust(Evidence(values, labels, zeros, episodes, ["find {}"])):
        assert (fit.goals[0][1:] >= 0).all()


def test_a_goal_with_few_frames_does_as_its_family(halves):
    known, _ = halves
    goals = np.where(np.arange(len(known.goals)) < 3, 4, known.goals)  # three frames of a fifth
    families = [*FAMILIES, "lift {}"]
    fit, *_ = fit_trust(Evidence(known.values, known.labels, goals, known.episodes, families))
    apart = np.abs(fit.goals[4] - fit.families["lift {}"]).max()
    assert apart < 0.5
    assert np.abs(fit.families["find {}"] - fit.families["lift {}"]).max() > 2 * apart


def test_held_out_scores_do_not_know_their_labels():
    rng = np.random.default_rng(3)
    values, labels = rng.normal(size=(200, 2)), rng.random(200) < 0.3
    goals, episodes = rng.integers(0, 20, 200), np.arange(200)
    families = [f"family {goal}" for goal in range(20)]
    fit, *_ = fit_trust(Evidence(values, labels, goals, episodes, families))
    assert precision(Evidence(values, labels, goals, episodes, families), fit.held_out) < 0.45
