import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.errors import GoalError, PoolError, RewardError
from rllib_vlm_reward.serving.batcher import Batch, Batcher


def frames_of(values, side=2):
    """One frame a value, each pixel that value."""
    values = np.asarray(values, np.uint8)
    return np.ascontiguousarray(
        np.broadcast_to(values[:, None, None, None], (len(values), side, side, 3))
    )


def goals_of(values):
    return np.asarray(values, np.int64)


def arithmetic(frames, goals, scorer):
    """A score that only the right frame, goal and scorer give."""
    return (frames[:, 0, 0, 0] * 1000.0 + goals + scorer).astype(np.float32)


class Gate:
    """A score function that holds its first batch until the test opens it."""

    def __init__(self, score=arithmetic):
        self.score, self.batches = score, []
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, frames, goals, scorer):
        self.batches.append(frames[:, 0, 0, 0].tolist())
        self.entered.set()
        assert self.opened.wait(10)
        return self.score(frames, goals, scorer)

    def hold(self, batcher, scorer):
        """Occupy the worker, so that what follows queues."""
        future = batcher.submit(frames_of([255]), goals_of([0]), scorer)
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
    futures = [batcher.submit(frames_of(v), goals_of(v), scorer) for v in values]
    assert batcher.waiting == 3
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
        batcher.submit(frames_of(v), goals_of(v), 0)
    gate.opened.set()
    batcher.close()
    assert gate.batches == [[255], [1, 2, 3, 6], [4, 5, 7, 8]]


def test_a_request_above_the_limit_is_scored_in_slices():
    gate = Gate()
    gate.opened.set()
    batcher = batcher_of(gate, max_batch_size=3)
    values = list(range(8))
    scores = batcher.submit(frames_of(values), goals_of(values), 0).result(10)
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
        batcher.submit(frames_of([v], side), goals_of([7]), scorer) for v, side, scorer in sent
    ]
    gate.opened.set()
    assert [future.result(10).item() for future in futures] == [
        1000 * v + 7 + scorer for v, _, scorer in sent
    ]
    assert gate.batches == [[255], [1, 4], [2], [3, 5]]
    batcher.close()


def test_only_the_guilty_request_of_a_joined_batch_fails():
    def refuse_13(frames, goals, scorer):
        if 13 in goals:
            raise RewardError("thirteen")
        return arithmetic(frames, goals, scorer)

    gate = Gate(refuse_13)
    batcher = batcher_of(gate)
    gate.hold(batcher, 0)
    futures = [batcher.submit(frames_of([g]), goals_of([g]), 0) for g in (12, 13, 14)]
    gate.opened.set()
    assert [futures[0].result(10).item(), futures[2].result(10).item()] == [12012, 14014]
    with pytest.raises(RewardError, match="thirteen"):
        futures[1].result(10)
    # The worker outlives the error.
    assert batcher.submit(frames_of([1]), goals_of([1]), 0).result(10).item() == 1001
    batcher.close()


def test_scores_of_a_wrong_length_are_an_error_not_a_shift():
    batcher = batcher_of(lambda frames, goals, scorer: np.zeros(len(goals) + 1, np.float32))
    with pytest.raises(RewardError, match=r"got \[3\], expected \[2\]"):
        batcher.submit(frames_of([1, 2]), goals_of([0, 0]), 0).result(10)
    batcher.close()


def test_a_malformed_request_is_refused_at_the_door():
    batcher = batcher_of(arithmetic)
    with pytest.raises(GoalError, match="expected"):
        batcher.submit(frames_of([1, 2]), goals_of([0]), 0)
    batcher.close()


def test_a_failing_observer_is_an_error_not_a_hang():
    def refuse(batch):
        raise ValueError("no metrics")

    batcher = batcher_of(arithmetic, observe=refuse)
    for _ in range(2):
        with pytest.raises(ValueError, match="no metrics"):
            batcher.submit(frames_of([1]), goals_of([1]), 0).result(10)
    batcher.close()


def test_read_only_frames_reach_the_score_untouched():
    frames = frames_of([9])
    frames.setflags(write=False)
    batcher = batcher_of(arithmetic)
    assert batcher.submit(frames, goals_of([1]), 0).result(10).item() == 9001
    batcher.close()


def test_close_scores_what_is_queued_then_refuses():
    gate = Gate()
    batcher = batcher_of(gate)
    gate.hold(batcher, 0)
    last = batcher.submit(frames_of([3]), goals_of([3]), 0)
    gate.opened.set()
    batcher.close()
    batcher.close()
    assert last.result(0).item() == 3003
    with pytest.raises(PoolError, match="after close"):
        batcher.submit(frames_of([3]), goals_of([3]), 0)


def test_each_batch_is_observed():
    seen: list[Batch] = []
    gate = Gate()
    batcher = batcher_of(gate, max_batch_size=2, observe=seen.append)
    gate.hold(batcher, 0)
    for v in ([1], [2], [3]):
        batcher.submit(frames_of(v), goals_of(v), 0)
    gate.opened.set()
    batcher.close()
    assert [(b.frames, len(b.latencies), b.waiting) for b in seen] == [
        (1, 1, 3),
        (2, 2, 1),
        (1, 1, 0),
    ]
    assert all(max(b.latencies) >= b.seconds > 0 for b in seen)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    max_batch_size=st.integers(1, 12),
    scorers=st.integers(1, 3),
    senders=st.integers(1, 4),
)
def test_any_mix_of_requests_gets_its_own_scores(sizes, max_batch_size, scorers, senders):
    batcher = batcher_of(arithmetic, max_batch_size=max_batch_size)

    def send(index):
        values = np.arange(sizes[index]) + index
        side = 2 + 2 * (index % 2)
        scores = batcher.submit(
            frames_of(values, side), goals_of(values * 3), 0.25 * (index % scorers)
        ).result(10)
        np.testing.assert_array_equal(
            scores, (values * 1003 + 0.25 * (index % scorers)).astype(np.float32)
        )

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, range(len(sizes))))
    batcher.close()
