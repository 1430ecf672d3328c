import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.sweep import interval


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=8, unique=True))
def test_it_is_scipys(values):
    found = interval(values)
    scale = scipy.stats.sem(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=found["mean"], scale=scale)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-9)
    assert found["each"] == values


def test_one_seed_has_none():
    assert interval([0.5]) == {"mean": 0.5, "low": None, "high": None, "each": [0.5]}
