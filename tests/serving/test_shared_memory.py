"""A shared-memory client and its server: real sockets and memory, no Ray."""

import contextlib
import gc
import os
import select
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.request import Request
from rllib_vlm_reward.serving.shared_memory.client import SharedMemoryClient
from rllib_vlm_reward.serving.shared_memory.protocol import (
    SHAREABLE,
    Reply,
    Segment,
    SharedMemoryError,
)
from rllib_vlm_reward.serving.shared_memory.server import SharedMemoryServer

pytestmark = pytest.mark.skipif(not SHAREABLE, reason="only Linux has memfd")
KNOWN = "ab" * 32
RUN = 2**64 - 1


def arithmetic(batches, goals, scorer):
    """A score that only all of a frame's pixels and its own goal give."""
    sums = np.concatenate([batch.sum(axis=(1, 2, 3), dtype=np.int64) for batch in batches])
    return (sums % 1009 + 0.5 * goals).astype(np.float32)


def expected(request):
    return arithmetic([np.stack(list(request.frames))], request.goals, None)


def draw(rng, size, side=8):
    frames = rng.integers(0, 256, (size, side, side + 1, 3), dtype=np.uint8)
    return Request(frames, rng.integers(0, 9, size), KNOWN, RUN)


@contextlib.contextmanager
def listening(score=arithmetic):
    batcher = Batcher(score, max_batch_size=8, lanes=2)

    def serve(request):
        if (request.fingerprint, request.run) != (KNOWN, RUN):
            raise SharedMemoryError("who is that?")
        return batcher.submit(request, None)

    yield SharedMemoryServer(serve, batcher)
    batcher.close()


def answer_of(client, exchange):
    """Wait for an answer as the router does, and return it."""
    deadline = time.monotonic() + 10
    while not exchange.done():
        assert time.monotonic() < deadline
        if client.fileno() >= 0:
            select.select([client], [], [], 0.1)
        client.receive()
    return exchange.result()


def scores_of(client, request):
    return answer_of(client, client.send(request)).scores


@pytest.fixture(scope="module")
def server():
    with listening() as server:
        yield server


@pytest.fixture
def client(server):
    client = SharedMemoryClient(server.address)
    yield client
    client.close()


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), min_size=1, max_size=12))
def test_every_request_gets_its_own_scores_whatever_their_sizes(server, sizes):
    client, rng = SharedMemoryClient(server.address), np.random.default_rng(0)
    requests = [draw(rng, size, side) for size, side in sizes]
    right = [expected(request) if len(request.goals) else [] for request in requests]
    answers = [client.send(request) for request in requests]
    for exchange, scores in zip(answers, right, strict=True):
        answer = answer_of(client, exchange)
        np.testing.assert_array_equal(answer.scores, scores)
        assert answer.waiting >= 0
    client.close()


def test_readouts_lie_behind_the_scores_and_move_nothing_else():
    def score(batches, goals, scorer):
        scores = arithmetic(batches, goals, scorer)
        return np.stack([scores, scores + 1, 2 * scores], axis=1)

    rng = np.random.default_rng(0)
    with listening(score) as server:
        client = SharedMemoryClient(server.address)
        # The last two in one segment, which is larger than a page.
        for size, side in ((3, 8), (60, 20), (60, 20)):
            request = draw(rng, size, side)
            request.columns, right = 3, expected(request)
            found = scores_of(client, request)
            np.testing.assert_array_equal(found, np.stack([right, right + 1, 2 * right], axis=1))
        client.close()
    shape = (60, 20, 21)
    assert Segment.size_of(shape, 1) == Segment.size_of(shape)
    assert Segment.size_of(shape, 3) == Segment.size_of(shape) + 60 * 2 * 4


def test_more_readouts_than_there_is_room_for_are_an_error_and_no_silence():
    with listening(lambda batches, goals, scorer: np.zeros((len(goals), 5000), "f4")) as server:
        client = SharedMemoryClient(server.address)
        with pytest.raises(ValueError, match="buffer"):
            scores_of(client, draw(np.random.default_rng(0), 3))
        client.close()


def test_single_frames_are_sent_as_a_batch(client):
    request = draw(np.random.default_rng(0), 5)
    right = expected(request)
    request.frames = list(request.frames)
    np.testing.assert_array_equal(scores_of(client, request), right)


def test_the_copy_takes_the_frames_place_so_that_an_env_may_draw_into_them(client):
    request = draw(np.random.default_rng(0), 5)
    drawn, right = request.frames, expected(request)
    exchange = client.send(request)
    drawn[:] = 0
    np.testing.assert_array_equal(answer_of(client, exchange).scores, right)
    np.testing.assert_array_equal(expected(request), right)  # sent again, it would be the same


def open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_memory_is_used_again(client):
    rng = np.random.default_rng(0)
    scores_of(client, draw(rng, 9))
    before = open_files()
    for size in (9, 3, 8, 1) * 20:
        scores_of(client, draw(rng, size))
    assert open_files() <= before


def test_nothing_is_left_of_closed_connections(server):
    rng = np.random.default_rng(0)

    def come_and_go(times):
        for _ in range(times):
            client = SharedMemoryClient(server.address)
            for exchange in [client.send(draw(rng, 4)) for _ in range(4)]:
                answer_of(client, exchange)
            client.close()

    come_and_go(5)
    before = open_files()
    come_and_go(50)
    deadline = time.monotonic() + 10
    while open_files() > before + 10:  # the last client, until the server sees its end
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_arrives_as_itself_and_the_connection_outlives_it():
    def refuse_8(batches, goals, scorer):
        if 8 in goals:
            raise RewardError("eight")
        return arithmetic(batches, goals, scorer)

    with listening(refuse_8) as server:
        client, rng = SharedMemoryClient(server.address), np.random.default_rng(0)
        bad, good = draw(rng, 2), draw(rng, 2)
        bad.goals, good.goals = np.array([8, 1]), np.array([1, 2])
        with pytest.raises(RewardError, match=r"^eight$"):
            scores_of(client, bad)
        right = expected(good)
        np.testing.assert_array_equal(scores_of(client, good), right)
        client.close()


def test_an_error_that_cannot_travel_arrives_as_its_text():
    class Local(Exception):
        pass

    with pytest.raises(RuntimeError, match="Local: only here"):
        raise Reply.unpack(Reply(1, 0, Local("only here")).pack()).error
    huge = Reply.unpack(Reply(1, 0, RewardError("x" * 1_000_000)).pack()).error
    assert "RewardError: xxx" in str(huge)


def test_a_scorer_that_the_actor_does_not_know_is_a_shared_memory_error(client):
    request = draw(np.random.default_rng(0), 2)
    request.fingerprint = "cd" * 32
    with pytest.raises(SharedMemoryError, match="who is that"):
        scores_of(client, request)


ACTOR = """
import sys, threading
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.shared_memory.server import SharedMemoryServer
batcher = Batcher(lambda *args: threading.Event().wait(), max_batch_size=8)
server = SharedMemoryServer(lambda request: batcher.submit(request, None), batcher)
print(server.address[1:], flush=True)
sys.stdin.read()
"""


def test_the_end_of_the_actors_process_fails_what_is_under_way_and_what_comes():
    actor = subprocess.Popen(
        [sys.executable, "-c", ACTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    client = SharedMemoryClient("\0" + actor.stdout.readline().strip())
    rng = np.random.default_rng(0)
    exchanges = [client.send(draw(rng, 4)) for _ in range(3)]
    assert not any(exchange.done() for exchange in exchanges)
    actor.kill()
    for exchange in exchanges:
        with pytest.raises(SharedMemoryError, match="process ended"):
            answer_of(client, exchange)
    assert client.is_broken
    with pytest.raises(SharedMemoryError):
        client.send(draw(rng, 4)).result()
    actor.communicate()


def test_a_client_that_ends_leaves_the_server_to_the_others(server, client):
    gone = SharedMemoryClient(server.address)
    gone.send(draw(np.random.default_rng(0), 4))
    gone.close()
    request = draw(np.random.default_rng(1), 4)
    right = expected(request)
    np.testing.assert_array_equal(scores_of(client, request), right)


def test_many_clients_at_once(server):
    def work(seed):
        client, rng = SharedMemoryClient(server.address), np.random.default_rng(seed)
        for _ in range(30):
            request = draw(rng, int(rng.integers(1, 9)))
            right = expected(request)
            if not np.array_equal(scores_of(client, request), right):
                wrong.append(seed)
        client.close()

    wrong = []
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nobody_listens():
    with pytest.raises(OSError, match="refused"):
        SharedMemoryClient("\0rllib_vlm_reward-nobody")


def test_a_segment_is_as_large_as_its_request():
    for shape in ((0, 1, 1), (1, 7, 5), (16, 56, 56)):
        segment = Segment(0, Segment.size_of(shape))
        place = segment.views(shape)
        place.frames[:], place.goals[:], place.scores[:] = 7, 8, 9.0
        assert (place.frames == 7).all()
        assert (place.goals == 8).all()
        assert (place.scores == 9.0).all()


def test_memory_is_not_used_again_before_the_request_could_be_sent_again():
    rng = np.random.default_rng(0)
    first, second = draw(rng, 4), draw(rng, 4)
    right, right_too, seen, asked = expected(first), expected(second), [], []

    def refuse_once(batches, goals, scorer):
        asked.append(goals)
        if len(asked) > 1:
            return arithmetic(batches, goals, scorer)
        raise SharedMemoryError("who is that?")

    def lost():
        exchanges.append(client.send(second))
        seen.append(expected(first))

    with listening(refuse_once) as server:
        client = SharedMemoryClient(server.address)
        exchanges = [client.send(first, lost)]
        with pytest.raises(SharedMemoryError, match="who is that"):
            answer_of(client, exchanges[0])
        np.testing.assert_array_equal(answer_of(client, exchanges[1]).scores, right_too)
        client.close()
    np.testing.assert_array_equal(seen[0], right)


def test_replies_that_nobody_reads_wait_and_hold_up_no_other_client(server, client):
    slow, rng = SharedMemoryClient(server.address), np.random.default_rng(0)
    requests = [draw(rng, 1, side=2) for _ in range(1500)]  # a socket holds some 270 replies
    right = [expected(request) for request in requests]
    exchanges = [slow.send(request) for request in requests]
    request = draw(rng, 4)
    scores = expected(request)
    np.testing.assert_array_equal(scores_of(client, request), scores)
    time.sleep(0.2)
    assert not any(exchange.done() for exchange in exchanges)
    for exchange, scores in zip(exchanges, right, strict=True):
        np.testing.assert_array_equal(answer_of(slow, exchange).scores, scores)
    slow.close()
