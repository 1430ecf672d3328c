"""A metric of NaN, of labels that are no labels, or of nothing is an error."""

import numpy as np
import pytest

from rllib_vlm_reward.errors import LabelError, RewardError
from rllib_vlm_reward.metrics.bootstrap import bootstrap, bootstrap_metric
from rllib_vlm_reward.metrics.epic import epic_distance
from rllib_vlm_reward.metrics.fires import Fires
from rllib_vlm_reward.metrics.metric import METRICS
from rllib_vlm_reward.metrics.precision_recall import average_precision, precision_recall
from rllib_vlm_reward.metrics.ranking import auroc, rank_correlation
from rllib_vlm_reward.metrics.reliability import reliability

SCORES, LABELS = np.array([0.9, 0.2, 0.4]), np.array([True, False, True])
EACH = np.arange(3)
OF_LABELS = {
    "auroc": auroc,
    "average_precision": average_precision,
    "precision_recall": precision_recall,
    "reliability": reliability,
    "fires": lambda scores, labels: Fires.at(
        0.5, scores, labels, np.arange(getattr(scores, "size", 3))
    ),
    "bootstrap": lambda scores, labels: bootstrap_metric(
        METRICS["auroc"], scores, labels, np.arange(getattr(scores, "size", 3)), repeats=2
    ),
}
OF_NUMBERS = {"epic": epic_distance, "rank_correlation": rank_correlation}
every = pytest.mark.parametrize(
    "metric", (OF_LABELS | OF_NUMBERS).values(), ids=OF_LABELS | OF_NUMBERS
)


@every
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_its_row(metric, wrong):
    with pytest.raises(RewardError, match=f"got {wrong} in row 1, expected finite"):
        metric(np.array([0.9, wrong, 0.4]), LABELS)


@every
def test_nothing_at_all_is_refused(metric):
    with pytest.raises(LabelError, match="at least 1"):
        metric(SCORES[:0], LABELS[:0])


@every
def test_lengths_that_differ_are_refused(metric):
    with pytest.raises(LabelError, match="expected one length"):
        metric(SCORES, LABELS[:2])


@pytest.mark.parametrize("metric", OF_LABELS.values(), ids=OF_LABELS)
@pytest.mark.parametrize(
    "labels", [[1, 0, 1], [0.3, 0.0, 1.0], [-1, 2, 0], ["True", "False", "x"], [True, None, False]]
)
def test_labels_that_are_not_boolean_are_refused(metric, labels):
    with pytest.raises(LabelError, match=r"labels: got .*, expected bool"):
        metric(SCORES, np.array(labels))


@every
@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.3], np.array(["a", "b", "c"]), np.zeros((3, 1))])
def test_scores_that_are_no_row_of_numbers_are_refused(metric, scores):
    with pytest.raises(LabelError, match=r"expected numbers \[N\]"):
        metric(scores, LABELS)


def test_a_threshold_that_is_nan_is_refused():
    with pytest.raises(RewardError, match="threshold: got nan"):
        Fires.at(float("nan"), SCORES, LABELS, EACH)


@pytest.mark.parametrize("scores", [[0.5, 1.5, 0.0], [-0.1, 0.5, 0.0]])
def test_a_reliability_needs_probabilities(scores):
    with pytest.raises(RewardError, match="expected probabilities"):
        reliability(np.array(scores), LABELS)


@pytest.mark.parametrize("episodes", [EACH[:0], EACH.astype(float)])
def test_a_bootstrap_needs_episodes(episodes):
    with pytest.raises(LabelError, match=r"episodes|at least 1"):
        bootstrap(lambda rows: 0.0, episodes)


@pytest.mark.parametrize("seed", range(5))
def test_a_calibration_error_lies_within_its_interval(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random(60)
    labels = rng.random(60) < scores  # calibrated: the error is that of a small sample
    episodes = np.arange(60)

    def error(rows):
        return reliability(scores[rows], labels[rows]).expected_error

    found = bootstrap(error, episodes, repeats=200, centred=True)
    assert found.low <= found.value <= found.high
    assert found.low < found.high
    plain = bootstrap(error, episodes, repeats=200)
    assert found.high - found.low == pytest.approx(plain.high - plain.low)
    assert plain.value < (plain.low + plain.high) / 2  # what resampling adds
