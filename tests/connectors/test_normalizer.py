import numpy as np
import pytest
from gymnasium.wrappers.utils import RunningMeanStd
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.connectors.newest import newest
from rllib_vlm_reward.connectors.normalizer import PRIOR, Moments, RewardNormalizer

floats = st.floats(-1e3, 1e3)
steps = st.lists(st.lists(floats, min_size=1, max_size=3), min_size=1, max_size=6)


def feed(normalizer, rewards, dones=None):
    """Give it one vector step of episodes "0", "1", ... for each row; return the scaled rewards."""
    scaled = []
    for row in rewards:
        ids = [str(i) for i in range(len(row))]
        scaled.append(normalizer(ids, np.array(row, np.float32), dones or [False] * len(row)))
    return scaled


def test_it_is_gymnasiums_computation():
    rewards = np.random.default_rng(0).normal(2.0, 3.0, (50, 4)).astype(np.float32)
    reference, accumulated, expected = RunningMeanStd(), np.zeros(4), []
    for row in rewards:
        accumulated = 0.9 * accumulated + row
        reference.update(accumulated)
        expected.append(row / np.sqrt(reference.var + 1e-8))
    assert np.allclose(feed(RewardNormalizer(0.9), rewards), expected, rtol=1e-5)


def test_a_return_starts_anew_with_its_episode():
    normalizer = RewardNormalizer(0.5)
    feed(normalizer, [[4.0]], dones=[True])
    feed(normalizer, [[2.0]])
    ((count, mean, _),) = normalizer.get_state().values()
    assert (count, mean) == (2, 3.0)  # of the returns 4 and 2, not 4 and 0.5 * 4 + 2


def test_abandoned_episodes_are_forgotten():
    normalizer = RewardNormalizer(0.5)
    feed(normalizer, [[4.0, 4.0]])
    normalizer.keep_only({"1"})
    assert set(normalizer._returns) == {"1"}


@given(st.lists(steps, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_merging_counts_each_env_runner_once_in_any_order(runs, random):
    runners = [RewardNormalizer(0.9) for _ in runs]
    states = []
    for runner, rewards in zip(runners, runs, strict=True):
        for row in rewards:  # a state of every moment, also outdated ones
            feed(runner, [row])
            states.append(runner.get_state())
    random.shuffle(states)
    states += random.sample(states, len(states) // 2)
    driver = RewardNormalizer(0.9)
    driver.set_state(newest(states))
    for state in states:
        driver.set_state(state)
    together = {key: it for runner in runners for key, it in runner.get_state().items()}
    assert driver.get_state() == dict(sorted(together.items()))


@given(steps, steps)
def test_two_env_runners_know_what_one_would_have_seen(first, second):
    a, b = RewardNormalizer(0.0), RewardNormalizer(0.0)
    feed(a, first)
    feed(b, second)
    a.set_state(b.get_state())
    seen = np.concatenate([np.concatenate(first), np.concatenate(second)]).astype(np.float32)
    whole = PRIOR.merge(Moments.of(seen))
    assert a._rest.merge(a._own).variance == pytest.approx(whole.variance, rel=1e-6, abs=1e-9)


def test_an_older_state_does_not_take_back_what_a_runner_saw_since():
    runner = RewardNormalizer(0.9)
    feed(runner, [[1.0], [2.0]])
    old = runner.get_state()
    feed(runner, [[3.0]])
    new = runner.get_state()
    runner.set_state(old)
    assert runner.get_state() == new != old
