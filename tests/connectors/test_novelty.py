"""How new a hint is, against networks that are drawn and fitted; and how counts are merged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.connectors.newest import newest
from rllib_vlm_reward.connectors.novelty import Novelty, kernel_of

# Five hints of goals, of four statements; the first two embeddings are much alike.
STATEMENTS = np.array([0, 1, 2, 3, 1])
TEXTS = ["a", "b", "c", "d"]
EMBEDDINGS = np.float32(
    [[1.0, 0.9, 0.1, 0.3], [1.0, 0.8, 0.2, 0.3], [1.0, -0.7, 0.3, -0.5], [1.0, 0.1, -0.9, 0.4]]
)
paid = st.lists(st.integers(0, 4), max_size=12)


def novelty(decay="rnd", embeddings=EMBEDDINGS):
    made = Novelty(decay, STATEMENTS, TEXTS)
    made.embed = lambda texts: embeddings[[TEXTS.index(text) for text in texts]]
    return made


def pay(counted, hints):
    return [counted.pay(hint) for hint in hints]


def test_the_count_is_that_of_a_goals_hint():
    assert pay(novelty("count"), [0, 0, 1, 4, 0]) == pytest.approx([1, 2**-0.5, 1, 1, 3**-0.5])
    assert pay(novelty("none"), [0, 0, 0]) == [1, 1, 1]


def test_a_statement_is_as_new_as_random_networks_are_hard_to_predict():
    """Networks of one random hidden layer, and predictors with the same layer, fitted to noise."""
    rng, width, networks = np.random.default_rng(0), 1_500, 3_000
    inputs = EMBEDDINGS - EMBEDDINGS.mean(axis=0)
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    hidden = np.maximum(inputs @ rng.normal(size=(4, width)), 0) * np.sqrt(2 / width)
    outputs = rng.normal(size=(width, networks))
    seen = np.array([0, 0, 2, 0, 2, 3, 0])
    values = hidden[seen] @ outputs + rng.normal(size=(len(seen), networks))
    # Ridge regression, as a predictor that starts at 0 and is stopped early.
    fitted = np.linalg.solve(np.eye(width) + hidden[seen].T @ hidden[seen], hidden[seen].T @ values)
    errors = np.sqrt(((hidden @ (fitted - outputs)) ** 2).mean(axis=1))
    found = novelty()
    pay(found, seen)
    again = [Novelty("rnd", STATEMENTS, TEXTS) for _ in TEXTS]
    for each in again:
        each.embed = found.embed
        each.set_state(found.get_state())
    assert [each.pay(hint) for hint, each in enumerate(again)] == pytest.approx(errors, abs=0.04)
    assert errors[1] < errors[2] < 1  # never paid, but much like the one that was paid most


@given(paid, st.randoms(use_true_random=False))
def test_the_order_of_what_was_paid_does_not_matter(hints, random):
    one, other, third = novelty(), novelty(), novelty()
    pay(one, hints)
    shuffled = random.sample(hints, len(hints))
    pay(other, shuffled[::2])
    third.set_state(other.get_state())
    pay(third, shuffled[1::2])
    assert pay(third, range(5)) == pytest.approx(pay(one, range(5)), abs=1e-9)


def test_alike_texts_decay_together_and_a_single_one_as_its_count():
    same = novelty(embeddings=EMBEDDINGS[[0, 0, 0, 0]])
    pay(same, [0, 0, 0])
    # Texts without any difference differ only in their place.
    assert 0.5 < same.pay(2) < 1
    pairs = novelty(embeddings=EMBEDDINGS[[0, 0, 2, 3]])
    pay(pairs, [0, 0, 0])
    assert pairs.pay(1) == pytest.approx(0.5)
    single = Novelty("rnd", np.array([0, 0]), ["a"])
    single.embed = lambda texts: EMBEDDINGS[:1]
    assert pay(single, [0, 1, 0]) == pytest.approx([1, 2**-0.5, 3**-0.5])


def test_a_kernel_is_a_covariance():
    kernel = kernel_of(np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    assert np.linalg.eigvalsh(kernel).min() > 0
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(np.diag(kernel), 1)
    assert kernel.min() >= 0


@given(st.lists(paid, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_merging_counts_each_env_runner_once_in_any_order(runs, random):
    runners = [novelty("count") for _ in runs]
    states = []
    for runner, hints in zip(runners, runs, strict=True):
        for hint in hints:  # a state of every moment, also outdated ones
            runner.pay(hint)
            states.append(runner.get_state())
    random.shuffle(states)
    states += random.sample(states, len(states) // 2)
    driver = novelty("count")
    driver.set_state(newest(states))
    for state in states:
        driver.set_state(state)
    expected = np.bincount([hint for hints in runs for hint in hints], minlength=5)
    np.testing.assert_array_equal(driver.counts, expected)
    for runner in runners:
        runner.set_state(driver.get_state())
        np.testing.assert_array_equal(runner.counts, expected)


def test_cleared_counts_are_gone():
    counted = novelty("count")
    pay(counted, [0, 1])
    before = counted.get_state()
    counted.clear()
    assert counted.get_state() == {}
    counted.pay(3)
    counted.set_state(before)
    assert counted.counts.tolist() == [1, 1, 0, 1, 0]
    assert len(counted.get_state()) == 2
