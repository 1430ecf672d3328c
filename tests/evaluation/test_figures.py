"""Every figure against scikit-learn, SciPy, or a count by hand."""

import math

import numpy as np
import pytest
from made_up import made_up_scores
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.figures import by_family, by_goal, figures
from rllib_vlm_reward.evaluation.scored_frames import score_labelled
from rllib_vlm_reward.metrics.bootstrap import Interval
from rllib_vlm_reward.metrics.fires import Fires

CONFIG = VLMRewardConfig(encoder="small", goals=["a {ball|key|box}"], threshold=0.5)
RNG = np.random.default_rng(0)
NUMBER = 600
GOALS = [CONFIG.goal_set.texts[row % 3] for row in range(NUMBER)]
EPISODES = [f"{GOALS[row]} {row // 12}" for row in range(NUMBER)]
LABELS = RNG.random(NUMBER) < 0.3
SCORES = np.clip(0.35 * LABELS + RNG.random(NUMBER) * 0.6, 0, 1).astype(np.float32)
STEPS = np.where(RNG.random(NUMBER) < 0.2, np.nan, np.where(LABELS, 0, RNG.integers(1, 9, NUMBER)))
STEPS[5] = np.inf


def made_up(config=CONFIG, **changes):
    given = {"goals": GOALS, "episodes": EPISODES, "steps_to_go": STEPS.tolist(), **changes}
    return made_up_scores(config, SCORES, LABELS, **given)


def epic(rewards):
    return math.sqrt((1 - pearsonr(rewards, LABELS).statistic) / 2)


def test_they_are_those_of_other_libraries():
    found, fired = figures(made_up()), SCORES > 0.5
    assert found["average_precision"].value == pytest.approx(
        average_precision_score(LABELS, SCORES)
    )
    assert found["auroc"].value == pytest.approx(roc_auc_score(LABELS, SCORES))
    assert found["precision"].value == pytest.approx(precision_score(LABELS, fired))
    assert found["recall"].value == pytest.approx(recall_score(LABELS, fired))
    assert found["epic_score"].value == pytest.approx(epic(SCORES))
    assert found["epic_reward"].value == pytest.approx(epic(fired))
    known = np.isfinite(STEPS)
    expected = spearmanr(SCORES[known], -STEPS[known]).statistic
    assert found["rank_correlation"].value == pytest.approx(expected)


def test_what_happens_in_episodes_is_counted_by_hand():
    found, fired = figures(made_up()), SCORES > 0.5
    names = sorted({*EPISODES})
    of_each = [np.array([each == name for each in EPISODES]) for name in names]
    wrong = [sum(fired & ~LABELS & rows) for rows in of_each]
    succeeded = [rows for rows in of_each if (LABELS & rows).any()]
    missed = [rows for rows in succeeded if not (fired & LABELS & rows).any()]
    assert found["false_positives"].value == pytest.approx(np.mean(wrong))
    assert found["missed_episodes"].value == pytest.approx(len(missed) / len(succeeded))
    assert (found.episodes, found.succeeded) == (len(names), len(succeeded))
    # An interval of a mean over episodes is that of the mean of their counts.
    width = 1.96 * np.std(wrong) / np.sqrt(len(names))
    assert found["false_positives"].low == pytest.approx(np.mean(wrong) - width, abs=width / 4)
    assert found["false_positives"].high == pytest.approx(np.mean(wrong) + width, abs=width / 4)


def test_they_agree_with_what_metrics_count(quickstart, lift):
    scored = score_labelled(
        quickstart.model_copy(update={"threshold": 0.05}), lift, encoder="small"
    )
    found = figures(scored)
    fires = Fires.at(0.05, scored.scores, lift.labels, lift.episode_indices)
    for name in ("precision", "recall", "false_positives", "missed_episodes"):
        assert found[name].value == pytest.approx(getattr(fires, name))


def test_an_interval_holds_its_figure_and_is_wider_for_fewer_episodes():
    scored = made_up()
    found = figures(scored)
    few = figures(scored, np.arange(60))
    for name, figure in found.values.items():
        if name != "goal_accuracy":
            assert figure.low <= figure.value <= figure.high, name
    width = found["average_precision"].high - found["average_precision"].low
    assert few["average_precision"].high - few["average_precision"].low > width


def test_a_goal_has_the_figures_of_its_own_frames():
    scored = made_up()
    found = by_goal(scored)
    assert [*found] == sorted(CONFIG.goal_set.texts)
    for goal, each in found.items():
        rows = np.array(GOALS) == goal
        assert (each.frames, each.successes) == (rows.sum(), LABELS[rows].sum())
        expected = average_precision_score(LABELS[rows], SCORES[rows])
        assert each["average_precision"].value == pytest.approx(expected)


def test_families_are_those_of_the_configuration():
    templates = [{"goal": "a {}", "family": "things"}]
    config = VLMRewardConfig.model_validate({**CONFIG.model_dump(), "templates": templates})
    scored = made_up(config)
    assert by_family(scored) == {"things": figures(scored)}


def test_what_is_not_defined_is_null_and_never_zero():
    scored = made_up_scores(CONFIG, [0.1, 0.2, 0.3], [False] * 3)
    found = figures(scored).to_dict()
    nothing = {"value": None, "low": None, "high": None}
    for name in ("average_precision", "auroc", "goal_accuracy", "precision", "recall"):
        assert found[name] == nothing
    assert found["missed_episodes"] == found["rank_correlation"] == found["epic_score"] == nothing
    assert found["false_positives"]["value"] == 0
    assert found["chance"] is None


def test_two_episodes_give_a_figure_without_an_interval():
    labels, episodes = [True, False] * 2, ["a", "a", "b", "b"]
    found = figures(made_up_scores(CONFIG, [0.9, 0.1] * 2, labels, episodes=episodes)).to_dict()
    assert found["average_precision"] == {"value": 1.0, "low": None, "high": None}


def test_only_probabilities_have_a_calibration_error():
    found = figures(made_up(CONFIG.model_copy(update={"head": "dense"})))
    assert math.isnan(found["calibration_error"].value)
    edges = np.minimum((SCORES * 10).astype(int), 9)
    bins = [np.flatnonzero(edges == edge) for edge in range(10)]
    gaps = [abs(SCORES[b].mean() - LABELS[b].mean()) * len(b) for b in bins if len(b)]
    expected = sum(gaps) / NUMBER
    assert figures(made_up())["calibration_error"].value == pytest.approx(expected, abs=2e-3)


def test_a_calibration_error_lies_within_its_interval():
    """Each draw from a sample that is calibrated exactly has a larger error than the sample."""
    scores = np.repeat(np.arange(0.05, 1, 0.1), 20)
    labels = [row % 20 < round(20 * score) for row, score in enumerate(scores)]
    found = figures(made_up_scores(CONFIG, scores, labels))["calibration_error"]
    assert found.value == pytest.approx(0, abs=1e-6)
    assert 0 <= found.low <= found.value <= found.high
    assert found.high > 0.01


def test_an_episode_that_is_drawn_twice_counts_twice():
    # All draws have the same false positives an episode, so the interval is one point.
    scored = made_up_scores(
        CONFIG, [0.9, 0.1] * 9, [False, True] * 9, episodes=[*"aabbccddeeffgghhii"]
    )
    assert figures(scored)["false_positives"] == Interval(1.0, 1.0, 1.0)
