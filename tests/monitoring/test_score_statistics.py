"""Score statistics add up, however episodes are cut, and lose nothing on their way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from sklearn.metrics import roc_auc_score

from rllib_vlm_reward.monitoring.alarms import auroc
from rllib_vlm_reward.monitoring.score_statistics import BINS, ScoreCounter, ScoreStatistics
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps, truth_of

SEEDS = st.integers(0, 2**32 - 1)
STEP = st.tuples(st.floats(0, 1, width=32), st.booleans(), st.sampled_from([False, True, None]))
CHUNKS = st.lists(st.lists(STEP, max_size=9), max_size=6)


def statistics_of(chunks, low=0.0, first=0):
    rows = [(str(name), *row) for name, chunk in enumerate(chunks, first) for row in chunk]
    ids, scores, fired, truths = zip(*rows, strict=True) if rows else ((), (), (), ())
    ended = [(None, False)] * len(chunks)
    codes = [truth_of(it) for it in truths]
    return ScoreStatistics.of(ids, scores, fired, codes, low=low, ended=ended)


def same(a, b):
    fields = ("counts", "fired", "episodes")
    exact = all(np.array_equal(getattr(a, it), getattr(b, it)) for it in fields)
    return exact and a.seen_in == b.seen_in and np.allclose(a.moments, b.moments, atol=1e-9)


@settings(deadline=None)
@given(CHUNKS, CHUNKS)
def test_the_total_of_two_is_that_of_all_their_steps(some, others):
    both = ScoreStatistics.total([statistics_of(some), statistics_of(others, first=len(some))])
    assert same(both, statistics_of(some + others))


def steps_of(rows):
    """Return scored steps, one a row of (episode, score, fired, truth), in this order."""
    ids, scores, fired, truths = zip(*rows, strict=True)
    episodes = [SingleAgentEpisode(id_=id_) for id_ in ids]
    codes = [truth_of(truth) for truth in truths]
    steps = ScoredSteps.begin(episodes, [0] * len(rows), codes, ["a ball"])
    steps.scored = np.ones(len(rows), bool)
    steps.scores, steps.fired = np.array(scores), np.array(fired)
    return steps


@settings(deadline=None)
@given(CHUNKS, SEEDS)
def test_it_does_not_matter_where_episodes_are_cut(episodes, seed):
    """As DQN cuts them, after each step, or anywhere; episodes take turns."""
    rng, counter, parts = np.random.default_rng(seed), ScoreCounter(0.0), []
    ids = [str(name) for name in range(len(episodes))]
    rows = [(name, *row) for name, chunk in zip(ids, episodes, strict=True) for row in chunk]
    turns = rng.permutation(np.repeat(ids, [len(chunk) for chunk in episodes]))
    left = {name: [row for row in rows if row[0] == name] for name in ids}
    for name in turns:
        counter.observe(steps_of([left[name].pop(0)]))
        if rng.random() < 0.5:
            parts.append(counter.take(ids, ids, []))
    parts.append(counter.take(ids, ids, [(None, False)] * len(episodes)))
    assert same(ScoreStatistics.total(parts), statistics_of(episodes))


def test_steps_of_abandoned_episodes_count_nothing():
    counter, rows = ScoreCounter(0.0), [("a", 0.2, False, None), ("b", 0.4, True, None)]
    counter.observe(steps_of(rows))
    assert same(counter.take({"a"}, set(), []), ScoreStatistics.of(["a"], [0.2], [False], [2]))


def test_steps_without_a_score_count_nothing():
    counter, steps = ScoreCounter(0.0), steps_of([("a", 0.2, False, None), ("a", 0.0, False, None)])
    steps.scored = np.array([True, False])
    counter.observe(steps)
    assert same(counter.take({"a"}, set(), []), ScoreStatistics.of(["a"], [0.2], [False], [2]))


@settings(deadline=None)
@given(CHUNKS, st.sampled_from([0.0, -1.0]))
def test_nothing_is_lost_on_the_way(chunks, low):
    statistics = statistics_of(chunks, low)
    assert same(ScoreStatistics.unpack(statistics.pack()), statistics)


@settings(deadline=None)
@given(CHUNKS, st.sampled_from([0.0, -1.0]))
def test_every_step_is_counted_where_its_score_and_its_truth_are(chunks, low):
    statistics = statistics_of(chunks, low)
    steps = [step for chunk in chunks for step in chunk]
    for kind, truth in enumerate([False, True, None]):
        scores = [score for score, _, known in steps if known is truth]
        assert (statistics.counts[kind] == np.histogram(scores, BINS, (low, 1.0))[0]).all()
        assert statistics.fired[kind] == sum(fired for _, fired, it in steps if it is truth)
        holding = sum(any(step[2] is truth for step in chunk) for chunk in chunks)
        assert statistics.episodes_with(kind) == holding
    false_fires = [sum(fired and truth is False for _, fired, truth in each) for each in chunks]
    assert statistics.moments[4] == sum(number**2 for number in false_fires)


@settings(deadline=None)
@given(CHUNKS)
def test_the_spread_is_that_within_episodes(chunks):
    scores = [np.array([score for score, _, _ in chunk]) for chunk in chunks if chunk]
    freedom = sum(len(each) - 1 for each in scores)
    spread = statistics_of(chunks).spread
    if not freedom:
        assert spread is None
    else:
        squares = sum(((each - each.mean()) ** 2).sum() for each in scores)
        assert spread == pytest.approx((squares / freedom) ** 0.5, abs=1e-6)


def test_the_auroc_is_scikit_learns_up_to_the_bins():
    rng = np.random.default_rng(0)
    labels = rng.random(2000) < 0.1
    scores = rng.beta(2, 5, 2000) + 0.1 * labels
    seen = ScoreStatistics.of(["e"] * 2000, scores, [False] * 2000, labels)
    assert auroc(seen)[0] == pytest.approx(roc_auc_score(labels, scores), abs=2e-3)
