"""Every metric against scikit-learn's, SciPy's, or its definition."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
)

from rllib_vlm_reward.metrics.bootstrap import bootstrap, bootstrap_metric
from rllib_vlm_reward.metrics.epic import epic_distance
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.metrics.metric import METRICS
from rllib_vlm_reward.metrics.precision_recall import average_precision, precision_recall
from rllib_vlm_reward.metrics.ranking import auroc, rank_correlation
from rllib_vlm_reward.metrics.reliability import reliability


@st.composite
def scored(draw):
    size = draw(st.integers(2, 40))
    # A few values, so that many are equal.
    scores = draw(arrays(np.float32, size, elements=st.integers(0, 8).map(lambda n: n / 8)))
    return scores, draw(arrays(np.bool_, size))


@settings(deadline=None)
@given(scored())
def test_the_curve_and_its_area_are_those_of_scikit_learn(given_scores):
    scores, labels = given_scores
    assume(labels.any())
    curve = precision_recall(scores, labels)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    np.testing.assert_array_equal(curve.thresholds, thresholds)
    np.testing.assert_allclose(curve.precision, precision[:-1])
    np.testing.assert_allclose(curve.recall, recall[:-1])
    assert average_precision(scores, labels) == pytest.approx(
        average_precision_score(labels, scores)
    )


@settings(deadline=None)
@given(scored())
def test_ranking_is_that_of_scikit_learn_and_scipy(given_scores):
    scores, labels = given_scores
    assume(labels.any() and not labels.all())
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    values = -np.arange(len(scores), dtype=float) // 3
    expected = spearmanr(scores, values).statistic if np.ptp(scores) and np.ptp(values) else np.nan
    assert rank_correlation(scores, values) == pytest.approx(expected, nan_ok=True)


@settings(deadline=None)
@given(scored())
def test_reliability_is_that_of_scikit_learn(given_scores):
    scores, labels = given_scores
    result = reliability(scores, labels, bins=5)
    filled = result.frames > 0
    # scikit-learn's bins are closed on the right; between the edges both are the same.
    assume(not np.isin(scores, result.edges[1:-1].astype(np.float32)).any())
    observed, predicted = calibration_curve(labels, scores, n_bins=5)
    if labels.any() and not labels.all():
        np.testing.assert_allclose(result.observed[filled], observed, atol=1e-6)
        np.testing.assert_allclose(result.predicted[filled], predicted, atol=1e-6)
    assert result.frames.sum() == len(scores)


def test_the_expected_error_is_the_mean_gap_over_frames():
    scores = np.array([0.1, 0.1, 0.9, 0.9, 0.9], np.float64)
    labels = np.array([False, True, True, True, False])
    result = reliability(scores, labels, bins=2)
    assert result.expected_error == pytest.approx((2 * 0.4 + 3 * abs(0.9 - 2 / 3)) / 5)


@settings(deadline=None)
@given(scored())
def test_epic_is_its_definition_after_canonical_shaping(given_scores):
    """Gleave et al., definition 4.3: half the L2 distance of the standardised rewards."""
    scores, labels = given_scores
    assume(np.ptp(scores) and np.ptp(labels.astype(int)))
    distance = epic_distance(scores, labels)
    standard = [(x - x.mean()) / x.std() for x in (scores.astype(float), labels.astype(float))]
    expected = math.sqrt(np.mean((standard[0] - standard[1]) ** 2)) / 2
    assert distance == pytest.approx(expected, abs=1e-6)
    assert 0 <= distance <= 1
    assert epic_distance(3 * scores + 1, labels) == pytest.approx(distance, abs=1e-6)


def test_epic_of_the_same_the_opposite_and_a_constant_reward():
    labels = np.array([True, False, False])
    assert epic_distance(labels * 7.0, labels) == 0
    assert epic_distance(-labels.astype(float), labels) == pytest.approx(1)
    assert math.isnan(epic_distance(np.zeros(3), labels))


EPISODES = np.array([7, 7, 7, 3, 3, 5])
SCORES = np.array([0.9, 0.9, 0.1, 0.6, 0.5, 0.2])
LABELS = np.array([True, False, False, False, True, False])


def test_fires_are_counted_by_episode():
    fires = Fires.at(0.5, SCORES, LABELS, EPISODES)
    assert len(fires) == 3
    assert fires.precision == pytest.approx(1 / 3)
    assert fires.recall == 0.5  # 0.5 does not exceed β
    assert fires.false_positives == pytest.approx(2 / 3)
    assert fires.missed_episodes == 0.5


@settings(deadline=None)
@given(scored(), st.integers(1, 5), st.integers(0, 8))
def test_fires_are_those_of_scikit_learn(given_scores, number, eighths):
    scores, labels = given_scores
    fired = scores > eighths / 8
    fires = Fires.at(eighths / 8, scores, labels, np.arange(len(scores)) % number)
    nan = {"zero_division": np.nan}
    expected = [score(labels, fired, **nan) for score in (precision_score, recall_score)]
    assert [fires.precision, fires.recall] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("drawn", [[0, 0, 1], [2, 2, 2], [1, 0, 1], [0, 1, 2]])
def test_an_episode_that_is_drawn_twice_counts_twice(drawn):
    """As if it had been played twice: its frames once more, under another name."""
    rows = [np.flatnonzero([3, 5, 7][episode] == EPISODES) for episode in drawn]
    names = np.repeat(np.arange(3), [*map(len, rows)])
    rows = np.concatenate(rows)
    again = Fires.at(0.5, SCORES[rows], LABELS[rows], names)
    fires = Fires.at(0.5, SCORES, LABELS, EPISODES)
    for figure in ("precision", "recall", "false_positives", "missed_episodes"):
        expected = pytest.approx(getattr(again, figure), nan_ok=True)
        assert fires.of(figure, np.array(drawn)) == expected


def test_nothing_fires_and_nothing_succeeds():
    nothing = Fires.at(0.5, np.zeros(2), np.zeros(2, bool), np.array([0, 1]))
    assert math.isnan(nothing.precision)
    assert math.isnan(nothing.recall)
    assert nothing.false_positives == 0
    assert math.isnan(nothing.missed_episodes)
    assert math.isnan(average_precision(np.zeros(2), np.zeros(2, bool)))
    assert np.isnan(precision_recall(np.zeros(2), np.zeros(2, bool)).recall).all()


def test_the_bootstrap_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        # Frames of an episode are all alike: to draw frames would give intervals far too narrow.
        values = np.repeat(rng.normal(size=40), 10)
        result = bootstrap(
            lambda rows, values=values: float(values[rows].mean()),
            np.repeat(np.arange(40), 10),
            repeats=200,
            seed=trial,
        )
        assert result.low <= result.value <= result.high
        held += result.low <= 0 <= result.high
    assert 0.88 <= held / 200 <= 0.99


def test_the_bootstrap_draws_whole_episodes_in_any_order():
    episodes = np.array([2, 0, 2, 0, 1])
    seen = []
    bootstrap(lambda rows: seen.append(sorted(rows)) or 0.0, episodes, repeats=20)
    members = [[1, 3], [4], [0, 2]]
    for rows in seen:
        counts = [[rows.count(row) for row in group] for group in members]
        assert all(len(set(group)) == 1 for group in counts)
        assert sum(group[0] for group in counts) == 3


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_the_interval_of_the_same_draws(name):
    rng = np.random.default_rng(0)
    scores, labels, episodes = rng.random(90), rng.random(90) < 0.4, rng.integers(30, size=90)
    metric = METRICS[name]

    def statistic(rows):
        return metric(scores[rows], labels[rows], episodes[rows])

    found = bootstrap_metric(metric, scores, labels, episodes, repeats=50)
    assert found == bootstrap(statistic, episodes, repeats=50)
    assert found.low < found.value < found.high


def test_a_metric_sees_each_drawn_episode_whole_in_order_and_once():
    episodes = np.array([2, 0, 2, 0, 1])
    steps = np.array([0.0, 10.0, 1.0, 11.0, 20.0])  # stand for scores
    members, seen = {(0.0, 1.0), (10.0, 11.0), (20.0,)}, []

    def metric(scores, labels, numbers):
        seen.append([tuple(scores[numbers == number]) for number in np.unique(numbers)])
        return 0.0

    bootstrap_metric(metric, steps, np.ones(5, bool), episodes, repeats=30)
    assert all(len(draw) == 3 and set(draw) <= members for draw in seen)
    assert any(len(set(draw)) < 3 for draw in seen)  # one was drawn twice
    assert seen[-1] != seen[-2]


def test_the_bootstrap_of_what_is_mostly_not_defined_has_no_interval():
    result = bootstrap(lambda rows: float("nan"), np.arange(3), repeats=10)
    assert math.isnan(result.low)
    assert math.isnan(result.high)
