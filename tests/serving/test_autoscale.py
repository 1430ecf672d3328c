import dataclasses
import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model.heads import Head
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving import RewardPool, autoscale, router
from rllib_vlm_reward.serving.autoscale import Autoscaler, Need
from rllib_vlm_reward.serving.router import present


def looks(need, shares, times):
    return [need.after(shares) for _ in range(times)]


def test_it_grows_after_two_busy_looks_and_then_counts_anew():
    need = Need(1, 3)
    assert looks(need, [0.95], 2) == [1, 2]
    assert looks(need, [0.95, 0.9], 3) == [2, 3, 2]
    assert looks(Need(1, 3), [1.0, 1.0, 1.0], 5) == [3] * 5


def test_a_check_compares_busy_seconds_with_the_time_that_passed():
    need = Need(1, 3)
    assert need.check({0: 50.0}, 100.0) == 1
    assert need.check({0: 54.7}, 105.0) == 1
    assert need.check({0: 59.4}, 110.0) == 2
    assert need.check({0: 64.1, 1: 2.0}, 115.0) == 2  # the new one counts from the next check on
    assert need.check({0: 3.0, 1: 6.9}, 120.0) == 2  # 0 restarted
    assert need.check({0: 7.9, 1: 11.8}, 125.0) == 2
    assert need.check({0: 12.8, 1: 16.7}, 130.0) == 3


def test_one_idle_look_forgets_the_busy_ones():
    need = Need(1, 3)
    assert [need.after([share]) for share in (1.0, 0.1, 1.0, 0.1)] == [1] * 4


def test_it_shrinks_after_a_minute_in_which_one_fewer_would_have_idled():
    need = Need(1, 3)
    assert looks(need, [0.2, 0.1, 0.1], 12) == [3] * 11 + [2]
    assert looks(Need(1, 3), [0.6, 0.6, 0.1], 30) == [3] * 30  # two would be busy for 0.65
    assert looks(Need(1, 3), [0.0], 30) == [1] * 30


@given(
    least=st.integers(1, 4),
    more=st.integers(0, 4),
    loads=st.lists(st.floats(0, 1), min_size=1, max_size=60),
)
def test_it_stays_within_its_bounds_and_moves_by_one(least, more, loads):
    need, count = Need(least, least + more), least
    for load in loads:
        wanted = need.after([load] * count)
        assert abs(wanted - count) <= 1
        assert least <= wanted <= least + more
        count = wanted


def test_an_error_does_not_end_it_and_shares_are_of_the_time_that_passed(monkeypatch):
    monkeypatch.setattr(autoscale, "_CHECK_S", 0.01)
    shares, enough, busy = [], threading.Event(), itertools.count()

    class Recording(Need):
        def after(self, given):
            shares.extend(given)
            if len(shares) > 3:
                enough.set()
            return len(given)

    def look():
        step = next(busy)
        if step == 1:
            raise CheckpointError("no weights")
        time.sleep(0.1)  # so that far more passes than there is between two looks
        return {0: time.monotonic() / 2}

    scaler = Autoscaler(Recording(1, 2), look, lambda i: None, lambda i: None, lambda: True)
    assert enough.wait(20)
    scaler.close()
    assert not scaler.join(10)
    assert max(shares[1:]) <= 0.7  # half busy


def test_bounds_that_cross_are_refused():
    with pytest.raises(ValueError, match="max_actors: got 1, expected at least num_actors=2"):
        VLMRewardConfig(
            encoder="small", goals=["a", "b"], serving={"num_actors": 2, "max_actors": 1}
        )


def test_a_busy_pool_grows_serves_from_all_and_shrinks_again(
    cluster, config, requests, monkeypatch
):
    monkeypatch.setattr(autoscale, "_CHECK_S", 0.5)
    monkeypatch.setattr(autoscale, "_CHECKS_DOWN", 4)
    monkeypatch.setattr(autoscale, "_BUSY", 0.6)  # whatever else this machine does
    monkeypatch.setattr(router, "_CHECK_S", 0.2)
    bounds = {
        "serving": {
            "num_actors": 1,
            "max_actors": 2,
            "num_cpus_per_actor": 0.5,
            "max_in_flight": 64,
        }
    }
    grows = config.model_copy(update=bounds)

    @dataclasses.dataclass(frozen=True)  # local, so that it is pickled with its code
    class Slow(Head):
        range = (-1.0, 1.0)

        def __call__(self, images, bank, goals):
            time.sleep(0.1)
            return images[:, 0]

    slow = Scorer(config.scorer.goals, Slow())
    owner = RewardPool.start(grows, name="grows")
    (request,) = requests(1, 2)
    deadline = time.monotonic() + 120
    while len(owner.stats()) < 2 or not all(row.get("frames", 0) > 10 for row in owner.stats()):
        assert time.monotonic() < deadline
        for _ in range(40):  # a second's work
            owner.submit(*request, slow)
    assert sorted(present("grows")) == [0, 1]
    while sorted(present("grows")) != [0]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert owner.score(*request, slow).shape == (2,)  # an ended actor loses no request
    assert owner.stats()[0]["up"]
    owner.close()
    assert not present("grows")
