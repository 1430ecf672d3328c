"""Combinations of scores: what holds for any scores, and who did not answer counts for nothing."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.combiner import Rule, Trust, disagreement, log_odds
from rllib_vlm_reward.reward_model.heads import Cosine, Sigmoid
from rllib_vlm_reward.reward_model.panel import Expert, Panel
from rllib_vlm_reward.reward_model.scorer import Scorer

GOALS = 4
PROBABILITIES = (True, False, True)


def trust(seed=0):
    rng = np.random.default_rng(seed)
    weights, biases = {}, {}
    for experts in range(1, 8):
        inside = [bool(experts & 1 << expert) for expert in range(3)]
        weights[experts] = rng.random((GOALS, 3)) * inside
        biases[experts] = rng.normal(size=GOALS)
    centers, scales = rng.normal(size=3), 0.5 + rng.random(3)
    return Trust(PROBABILITIES, centers, scales, weights, biases)


def rows(low=0.0):
    """Draw [8, 3] scores, of whom in each row at least one expert answered."""
    scores = arrays.arrays(np.float32, (8, 3), elements=st.floats(low, 1, width=32))
    answered = arrays.arrays(np.bool_, (8, 3)).filter(lambda mask: mask.any(axis=1).all())
    return st.tuples(scores, answered).map(lambda both: np.where(both[1], both[0], np.nan))


EVERY_GOAL = np.arange(8) % GOALS


@pytest.mark.parametrize(
    "combine",
    [trust(), Rule("mean"), Rule("max"), Rule("noisy_or")],
    ids=["trust", "mean", "max", "noisy_or"],
)
@hypothesis.given(scores=rows(), data=st.data())
def test_a_higher_score_never_lowers_the_combination(combine, scores, data):
    expert = data.draw(st.integers(0, 2))
    higher = scores.copy()
    higher[:, expert] += (1 - higher[:, expert]) / 2
    before, after = combine(scores, EVERY_GOAL), combine(higher, EVERY_GOAL)
    assert (after >= before - 1e-7).all()
    low, high = combine.range([(0, 1)] * 3)
    assert ((low - 1e-6 <= before) & (before <= high + 1e-6)).all()


@hypothesis.given(rows())
def test_each_frame_is_the_logistic_of_those_who_answered(scores):
    combine = trust()
    got = combine(scores, EVERY_GOAL)
    for row, goal in enumerate(EVERY_GOAL):
        answered = [expert for expert in range(3) if not np.isnan(scores[row, expert])]
        key = sum(1 << expert for expert in answered)
        total = combine.biases[key][goal]
        for expert in answered:
            score = float(scores[row, expert])
            if PROBABILITIES[expert]:
                clipped = min(max(score, 1e-6), 1 - 1e-6)
                score = np.log(clipped / (1 - clipped))
            evidence = (score - combine.centers[expert]) / combine.scales[expert]
            total += combine.weights[key][goal, expert] * evidence
        assert got[row] == pytest.approx(1 / (1 + np.exp(-total)), abs=1e-9)


@hypothesis.given(rows())
def test_rules_are_over_those_who_answered(scores):
    rules = {"mean": np.mean, "max": np.max, "noisy_or": lambda each: 1 - np.prod(1 - each)}
    for kind, rule in rules.items():
        expected = [rule(row[~np.isnan(row)].astype(np.float64)) for row in scores]
        np.testing.assert_allclose(Rule(kind)(scores, EVERY_GOAL), expected, atol=1e-12)


@hypothesis.given(rows(), st.permutations(range(3)))
def test_the_order_of_the_experts_does_not_matter(scores, order):
    for kind in ("mean", "max", "noisy_or"):
        shuffled = Rule(kind)(scores[:, order], EVERY_GOAL)
        np.testing.assert_allclose(shuffled, Rule(kind)(scores, EVERY_GOAL), atol=1e-12)


@hypothesis.given(rows())
def test_disagreement_is_the_standard_deviation_of_the_answers(scores):
    expected = [row[~np.isnan(row)].std() for row in scores.astype(np.float64)]
    np.testing.assert_allclose(disagreement(scores.astype(np.float64)), expected, atol=1e-7)


def test_an_opinion_is_what_the_expert_alone_would_pay():
    combine, scores = trust(), np.float32([[0.2, 0.4, 0.9]] * GOALS)
    goals = np.arange(GOALS)
    opinions = combine.opinions(scores, goals)
    for expert in range(3):
        alone = np.where(np.arange(3) == expert, scores, np.nan)
        np.testing.assert_allclose(opinions[:, expert], combine(alone, goals))


def test_log_odds_of_certainties_are_finite_and_in_order():
    values = log_odds(np.float32([0, 1e-9, 1e-4, 0.5, 0.9999, 1]))
    assert np.isfinite(values).all()
    assert all(low <= high for low, high in itertools.pairwise(values))


def test_a_panel_answers_score_disagreement_and_each_expert():
    goals = GoalSet.from_texts(["a ball", "a key"])
    experts = (Expert("a", Scorer(goals, Cosine()), 0), Expert("b", Scorer(goals, Sigmoid()), 0))
    panel = Panel(experts, Rule("mean"))
    answer = panel.answer(np.float32([[0.2, 0.6], [0.5, np.nan]]), np.array([0, 1]))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer[0], [0.4, 0.2, 0.2, 0.6], atol=1e-6)
    np.testing.assert_allclose(answer[1, :3], [0.5, 0.0, 0.5])
    assert np.isnan(answer[1, 3])


def test_two_experts_with_one_scorer_may_have_two_precisions():
    scorer = Scorer(GoalSet.from_texts(["a ball", "a key"]), Sigmoid())
    panel = Panel((Expert("a", scorer, 0), Expert("b", scorer, 0)), Rule("mean"))
    assert panel.precision is None
    chosen = panel.with_precisions({f"b{scorer.fingerprint}": "bf16"})
    assert [each.scorer.precision for each in chosen.experts] == [None, "bf16"]
    assert chosen.precision == "a None, b bf16"
    assert chosen.with_precisions({}).precision is None
