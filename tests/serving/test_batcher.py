import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.serving.batcher import Batch, Batcher
from rllib_vlm_reward.serving.request import Request


def frames_of(values, side=2):
    """One frame a value, each pixel that value."""
    values = np.asarray(values, np.uint8)
    return np.ascontiguousarray(
        np.broadcast_to(values[:, None, None, None], (len(values), side, side, 3))
    )


def request_of(frames, goals, run=0):
    return Request(frames_of(frames), np.asarray(goals, np.int64), "ab" * 32, run)


def arithmetic(batches, goals, scorer):
    """A score that only the right frame, goal and scorer give."""
    return (pixels(batches) * 1000.0 + goals + scorer).astype(np.float32)


def pixels(batches):
    return np.concatenate([batch[:, 0, 0, 0] for batch in batches])


class Gate:
    """A score function that holds its first batch until the test opens it."""

    def __init__(self, score=arithmetic):
        self.score, self.batches = score, []
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, batches, goals, scorer):
        self.batches.append(pixels(batches).tolist())
        self.entered.set()
        assert self.opened.wait(10)
        return self.score(batches, goals, scorer)

    def hold(self, batcher, scorer):
        """Occupy the worker, so that what follows queues."""
        future = batcher.submit(request_of([255], [0]), scorer)
        assert self.entered.wait(10)
        return future


def batcher_of(score, **options):
    return Batcher(score, **{"max_batch_size": 8, **options})


def test_requests_that_waited_join_one_batch_and_get_their_own_scores_back():
    gate = Gate()
    batcher = batcher_of(gate)
    gate.hold(batcher, 0.5)
    values = [[1, 2], [3], [4, 5, 6]]
    scorer = 0.5
    futures = [batcher.submit(request_of(v, v), scorer) for v in values]
    assert batcher.waiting == 6
    gate.opened.set()
    for future, v in zip(futures, values, strict=True):
        np.testing.assert_array_equal(future.result(10), np.float32(v) * 1000 + v + 0.5)
    assert gate.batches == [[255], [1, 2, 3, 4, 5, 6]]
    batcher.close()


def test_a_batch_never_exceeds_the_limit_and_keeps_the_order_of_arrival():
    gate = Gate()
    batcher = batcher_of(gate, max_batch_size=4)
    gate.hold(batcher, 0)
    for v in ([1, 2, 3], [4, 5], [6], [7, 8]):
        batcher.submit(request_of(v, v), 0)
    gate.opened.set()
    batcher.close()
    assert gate.batches == [[255], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_request_above_the_limit_is_scored_in_slices():
    gate = Gate()
    gate.opened.set()
    batcher = batcher_of(gate, max_batch_size=3)
    values = list(range(8))
    scores = batcher.submit(request_of(values, values), 0).result(10)
    np.testing.assert_array_equal(scores, np.float32(values) * 1001)
    assert [len(batch) for batch in gate.batches] == [3, 3, 2]
    batcher.close()


def test_other_scorers_and_other_frame_sizes_do_not_join():
    gate = Gate()
    batcher = batcher_of(gate)
    one, two = 1.0, 2.0
    gate.hold(batcher, one)
    sent = [(1, 2, one), (2, 2, two), (3, 4, one), (4, 2, one), (5, 4, one)]
    futures = [
        batcher.submit(Request(frames_of([v], side), np.array([7]), "ab" * 32), scorer)
        for v, side, scorer in sent
    ]
    gate.opened.set()
    assert [future.result(10).item() for future in futures] == [
        1000 * v + 7 + scorer for v, _, scorer in sent
    ]
    assert gate.batches == [[255], [1, 4], [2], [3, 5]]
    batcher.close()


def test_only_the_guilty_request_of_a_joined_batch_fails():
    def refuse_13(batches, goals, scorer):
        if 13 in goals:
            raise RewardError("thirteen")
        return arithmetic(batches, goals, scorer)

    gate = Gate(refuse_13)
    batcher = batcher_of(gate)
    gate.hold(batcher, 0)
    futures = [batcher.submit(request_of([g], [g]), 0) for g in (12, 13, 14)]
    gate.opened.set()
    assert [futures[0].result(10).item(), futures[2].result(10).item()] == [12012, 14014]
    with pytest.raises(RewardError, match="thirteen"):
        futures[1].result(10)
    # The worker outlives the error.
    assert batcher.submit(request_of([1], [1]), 0).result(10).item() == 1001
    batcher.close()


def test_a_frame_may_be_answered_by_several_numbers():
    """As with readouts; also by a request that lanes share."""

    def score(batches, goals, scorer):
        return np.stack([arithmetic(batches, goals, scorer), -goals.astype(np.float32)], axis=1)

    batcher = batcher_of(score, max_batch_size=2, lanes=2, splits=True)
    goals = np.arange(7)
    found = batcher.submit(request_of(goals, goals), 0).result(10)
    np.testing.assert_array_equal(found, np.stack([goals * 1001, -goals], axis=1))
    assert found.dtype == np.float32
    batcher.close()


def test_scores_of_a_wrong_length_are_an_error_not_a_shift():
    batcher = batcher_of(lambda batches, goals, scorer: np.zeros(len(goals) + 1, np.float32))
    with pytest.raises(RewardError, match=r"got the shape \[3\], expected \[2\]"):
        batcher.submit(request_of([1, 2], [0, 0]), 0).result(10)
    batcher.close()


def test_a_failing_observer_is_an_error_not_a_hang():
    def refuse(batch):
        raise ValueError("no metrics")

    batcher = batcher_of(arithmetic, observe=refuse)
    for _ in range(2):
        with pytest.raises(ValueError, match="no metrics"):
            batcher.submit(request_of([1], [1]), 0).result(10)
    batcher.close()


def test_read_only_frames_reach_the_score_untouched():
    frames = frames_of([9])
    frames.setflags(write=False)
    batcher = batcher_of(arithmetic)
    request = Request(frames, np.array([1]), "ab" * 32)
    assert batcher.submit(request, 0).result(10).item() == 9001
    batcher.close()


def test_close_scores_what_is_queued_then_refuses():
    gate = Gate()
    batcher = batcher_of(gate)
    gate.hold(batcher, 0)
    last = batcher.submit(request_of([3], [3]), 0)
    gate.opened.set()
    batcher.close()
    batcher.close()
    assert last.result(0).item() == 3003
    with pytest.raises(PoolError, match="after close"):
        batcher.submit(request_of([3], [3]), 0)


def test_each_batch_is_observed():
    seen: list[Batch] = []
    gate = Gate()
    batcher = batcher_of(gate, max_batch_size=2, observe=seen.append)
    gate.hold(batcher, 0)
    for v in ([1], [2], [3]):
        batcher.submit(request_of(v, v), 0)
    gate.opened.set()
    batcher.close()
    assert [(b.frames, len(b.latencies), b.waiting) for b in seen] == [
        (1, 1, 3),
        (2, 2, 1),
        (1, 1, 0),
    ]
    assert all(max(b.latencies) >= b.seconds > 0 for b in seen)


class Meeting:
    """A score function that waits until so many batches are inside at once."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count)
        self.sizes = []

    def __call__(self, batches, goals, scorer):
        self.sizes.append(len(goals))
        self.barrier.wait(10)
        return arithmetic(batches, goals, scorer)


def test_a_run_with_much_to_ask_does_not_hold_up_another():
    gate = Gate()
    batcher = batcher_of(gate)
    gate.hold(batcher, 0)
    for v in range(1, 9):
        batcher.submit(request_of([v] * 8, [v] * 8, run=1), object())
    for v in (101, 102):
        batcher.submit(request_of([v] * 4, [v] * 4, run=2), object())
    gate.score = lambda batches, goals, scorer: goals.astype(np.float32)
    gate.opened.set()
    batcher.close()
    assert [batch[0] for batch in gate.batches] == [255, 1, 101, 102, *range(2, 9)]


@settings(max_examples=50, deadline=None)
@given(
    asked=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), min_size=1, max_size=30),
    later=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), max_size=10),
)
def test_runs_that_wait_get_the_same_number_of_frames(asked, later):
    order, scorers, opened = [], {}, threading.Event()

    def score(batches, goals, scorer):
        assert opened.wait(10)
        if scorer in scorers:
            order.append(scorers[scorer])
            if len(order) == len(asked):
                for request in later:  # of a run that may have been idle meanwhile
                    submit(*request)
        return goals.astype(np.float32)

    def submit(run, size):
        scorer = object()  # so that none joins another
        scorers[scorer] = (run, size)
        batcher.submit(request_of([0] * size, [0] * size, run=run), scorer)

    batcher = batcher_of(score)
    batcher.submit(request_of([0], [0]), object())
    for request in asked:
        submit(*request)
    opened.set()
    while len(order) < len(asked) + len(later):
        time.sleep(0.001)
    batcher.close()
    # Goyal, Vin and Cheng, theorem 1: runs that wait are a request of each apart at most.
    for sent, served in ((asked, order[: len(asked)]), (later, order[len(asked) :])):
        assert sorted(served) == sorted(sent)
        left = {run: sum(size for who, size in sent if who == run) for run in (1, 2, 3)}
        got = dict.fromkeys(left, 0)
        for run, size in served:
            waiting = [one for one in left if left[one] > got[one]]
            got[run] += size
            assert max(got[one] for one in waiting) - min(got[one] for one in waiting) <= 16


def test_lanes_run_at_once():
    batcher = batcher_of(Meeting(2), max_batch_size=4, lanes=2)
    futures = [batcher.submit(request_of([v] * 4, [v] * 4), 0) for v in (1, 2)]
    assert [future.result(10)[0].item() for future in futures] == [1001, 2002]
    batcher.close()


def test_a_lone_request_is_divided_among_idle_lanes_that_split():
    meeting = Meeting(3)
    batcher = batcher_of(meeting, max_batch_size=64, lanes=3, splits=True)
    wait_until_idle(batcher, 3)
    values = list(range(10))
    scores = batcher.submit(request_of(values, values), 0).result(10)
    np.testing.assert_array_equal(scores, np.float32(values) * 1001)
    assert sorted(meeting.sizes) == [3, 3, 4]
    batcher.close()


def test_what_waits_is_divided_among_idle_lanes_only():
    gate = Gate()
    batcher = batcher_of(gate, max_batch_size=64, lanes=2, splits=True)
    wait_until_idle(batcher, 2)
    gate.hold(batcher, 0)
    wait_until_idle(batcher, 1)
    values = list(range(10))
    future = batcher.submit(request_of(values, values), 0)
    wait_until(lambda: len(gate.batches) == 2)
    gate.opened.set()
    assert len(future.result(10)) == 10
    assert gate.batches == [[255], values]
    batcher.close()


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def wait_until_idle(batcher, lanes):
    wait_until(lambda: batcher._idle == lanes)


def test_one_failed_part_fails_its_request_once():
    def refuse_7(batches, goals, scorer):
        if 7 in goals:
            raise RewardError("seven")
        return arithmetic(batches, goals, scorer)

    batcher = batcher_of(refuse_7, max_batch_size=2, lanes=2)
    values = list(range(9))
    with pytest.raises(RewardError, match="seven"):
        batcher.submit(request_of(values, values), 0).result(10)
    assert batcher.submit(request_of([1], [1]), 0).result(10).item() == 1001
    batcher.close()


def test_a_failed_request_is_answered_when_no_lane_reads_its_frames_any_more():
    slow, go_on = threading.Event(), threading.Event()

    def score(batches, goals, scorer):
        if 7 in goals:
            assert slow.wait(10)
            raise RewardError("seven")
        slow.set()
        assert go_on.wait(10)
        return arithmetic(batches, goals, scorer)

    batcher = batcher_of(score, max_batch_size=2, lanes=2)
    future = batcher.submit(request_of([1, 2, 7, 8], [1, 2, 7, 8]), 0)
    with pytest.raises(TimeoutError):
        future.result(0.2)
    go_on.set()
    with pytest.raises(RewardError, match="seven"):
        future.result(10)
    batcher.close()


def test_each_lane_is_entered_once_and_left_at_the_end():
    deeds = []

    @contextlib.contextmanager
    def lane():
        deeds.append("entered")
        yield
        deeds.append("left")

    batcher = batcher_of(arithmetic, lanes=2, lane=lane)
    for v in (1, 2, 3):
        batcher.submit(request_of([v], [v]), 0).result(10)
    assert deeds == ["entered", "entered"]
    batcher.close()
    assert deeds == ["entered", "entered", "left", "left"]


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    scorers=st.integers(1, 3),
    senders=st.integers(1, 4),
    lanes=st.integers(1, 3),
    splits=st.booleans(),
    max_batch_size=st.integers(1, 12),
)
def test_any_mix_of_requests_gets_its_own_scores(
    sizes, max_batch_size, scorers, senders, lanes, splits
):
    batcher = batcher_of(arithmetic, max_batch_size=max_batch_size, lanes=lanes, splits=splits)

    def send(index):
        values = np.arange(sizes[index]) + index
        side = 2 + 2 * (index % 2)
        request = Request(frames_of(values, side), values * 3, "ab" * 32)
        scores = batcher.submit(request, 0.25 * (index % scorers)).result(10)
        np.testing.assert_array_equal(
            scores, (values * 1003 + 0.25 * (index % scorers)).astype(np.float32)
        )

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, range(len(sizes))))
    batcher.close()
