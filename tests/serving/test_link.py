"""A link and its listener: real sockets and shared memory, no Ray."""

import contextlib
import gc
import os
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
from rllib_vlm_reward.serving.link import Link, LinkError
from rllib_vlm_reward.serving.listener import Listener
from rllib_vlm_reward.serving.message import Reply
from rllib_vlm_reward.serving.request import Request
from rllib_vlm_reward.serving.segment import SHAREABLE, Segment

pytestmark = pytest.mark.skipif(not SHAREABLE, reason="links are for Linux")
KNOWN = "ab" * 32
RUN = 2**64 - 1


def arithmetic(pieces, goals, scorer):
    """A score that only all of a frame's pixels and its own goal give."""
    sums = np.concatenate([piece.sum(axis=(1, 2, 3), dtype=np.int64) for piece in pieces])
    return (sums % 1009 + 0.5 * goals).astype(np.float32)


def expected(request):
    return arithmetic([np.stack(list(request.frames))], request.goals, None)


def draw(rng, size, side=8):
    frames = rng.integers(0, 256, (size, side, side + 1, 3), dtype=np.uint8)
    return Request(frames, rng.integers(0, 9, size), KNOWN, None, RUN)


@contextlib.contextmanager
def listening(score=arithmetic):
    batcher = Batcher(score, max_batch_size=8, lanes=2)

    def serve(frames, goals, fingerprint, run):
        if (fingerprint, run) != (KNOWN, RUN):
            raise LinkError("who is that?")
        return batcher.submit(frames, goals, None)

    yield Listener(serve, batcher)
    batcher.close()


@pytest.fixture(scope="module")
def listener():
    with listening() as listener:
        yield listener


@pytest.fixture
def link(listener):
    link = Link(listener.address)
    yield link
    link.close()


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), min_size=1, max_size=12))
def test_every_request_gets_its_own_scores_whatever_their_sizes(listener, sizes):
    link, rng = Link(listener.address), np.random.default_rng(0)
    requests = [draw(rng, size, side) for size, side in sizes]
    right = [expected(request) if len(request.goals) else [] for request in requests]
    answers = [link.send(request) for request in requests]
    for answer, scores in zip(answers, right, strict=True):
        np.testing.assert_array_equal(answer.result(10).scores, scores)
        assert answer.result().waiting >= 0
    link.close()


def test_single_frames_are_sent_as_a_batch(link):
    request = draw(np.random.default_rng(0), 5)
    right = expected(request)
    request.frames = list(request.frames)
    np.testing.assert_array_equal(link.send(request).result(10).scores, right)


def test_the_copy_takes_the_frames_place_so_that_an_env_may_draw_into_them(link):
    request = draw(np.random.default_rng(0), 5)
    drawn, right = request.frames, expected(request)
    answer = link.send(request)
    drawn[:] = 0
    np.testing.assert_array_equal(answer.result(10).scores, right)
    np.testing.assert_array_equal(expected(request), right)  # sent again, it would be the same


def open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_memory_is_used_again(link):
    rng = np.random.default_rng(0)
    link.send(draw(rng, 9)).result(10)
    before = open_files()
    for size in (9, 3, 8, 1) * 20:
        link.send(draw(rng, size)).result(10)
    assert open_files() <= before


def test_nothing_is_left_of_closed_links(listener):
    rng = np.random.default_rng(0)

    def come_and_go(times):
        for _ in range(times):
            link = Link(listener.address)
            for answer in [link.send(draw(rng, 4)) for _ in range(4)]:
                answer.result(10)
            link.close()

    come_and_go(5)
    before = open_files()
    come_and_go(50)
    deadline = time.monotonic() + 10
    while open_files() > before + 10:  # the last client, until the listener hears of its end
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_error_arrives_as_itself_and_the_link_outlives_it():
    def refuse_8(pieces, goals, scorer):
        if 8 in goals:
            raise RewardError("eight")
        return arithmetic(pieces, goals, scorer)

    with listening(refuse_8) as listener:
        link, rng = Link(listener.address), np.random.default_rng(0)
        bad, good = draw(rng, 2), draw(rng, 2)
        bad.goals, good.goals = np.array([8, 1]), np.array([1, 2])
        with pytest.raises(RewardError, match=r"^eight$"):
            link.send(bad).result(10)
        right = expected(good)
        np.testing.assert_array_equal(link.send(good).result(10).scores, right)
        link.close()


def test_an_error_that_cannot_travel_arrives_as_its_text():
    class Local(Exception):
        pass

    with pytest.raises(RuntimeError, match="Local: only here"):
        raise Reply.unpack(Reply(1, 0, Local("only here")).pack()).error
    huge = Reply.unpack(Reply(1, 0, RewardError("x" * 1_000_000)).pack()).error
    assert "RewardError: xxx" in str(huge)


def test_a_scorer_that_the_actor_does_not_know_is_a_link_error(link):
    request = draw(np.random.default_rng(0), 2)
    request.fingerprint = "cd" * 32
    with pytest.raises(LinkError, match="who is that"):
        link.send(request).result(10)


ACTOR = """
import sys, threading
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.listener import Listener
batcher = Batcher(lambda *args: threading.Event().wait(), max_batch_size=8)
listener = Listener(lambda frames, goals, scorer, run: batcher.submit(frames, goals, None), batcher)
print(listener.address[1:], flush=True)
sys.stdin.read()
"""


def test_the_end_of_the_actors_process_fails_what_is_under_way_and_what_comes():
    actor = subprocess.Popen(
        [sys.executable, "-c", ACTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    link = Link("\0" + actor.stdout.readline().strip())
    rng = np.random.default_rng(0)
    answers = [link.send(draw(rng, 4)) for _ in range(3)]
    assert not any(answer.done() for answer in answers)
    actor.kill()
    for answer in answers:
        with pytest.raises(LinkError, match="process ended"):
            answer.result(10)
    assert link.is_broken
    with pytest.raises(LinkError):
        link.send(draw(rng, 4)).result(10)
    actor.communicate()


def test_a_client_that_ends_leaves_the_listener_to_the_others(listener, link):
    gone = Link(listener.address)
    gone.send(draw(np.random.default_rng(0), 4))
    gone.close()
    request = draw(np.random.default_rng(1), 4)
    right = expected(request)
    np.testing.assert_array_equal(link.send(request).result(10).scores, right)


def test_many_clients_at_once(listener):
    def work(seed):
        link, rng = Link(listener.address), np.random.default_rng(seed)
        for _ in range(30):
            request = draw(rng, int(rng.integers(1, 9)))
            right = expected(request)
            if not np.array_equal(link.send(request).result(10).scores, right):
                wrong.append(seed)
        link.close()

    wrong = []
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_nobody_listens():
    with pytest.raises(OSError, match="refused"):
        Link("\0rllib_vlm_reward-nobody")


def test_a_segment_is_as_large_as_its_request():
    for shape in ((0, 1, 1), (1, 7, 5), (16, 56, 56)):
        segment = Segment(Segment.size_of(shape))
        place = segment.views(shape)
        place.frames[:], place.goals[:], place.scores[:] = 7, 8, 9.0
        assert (place.frames == 7).all()
        assert (place.goals == 8).all()
        assert (place.scores == 9.0).all()


def test_memory_is_not_used_again_before_the_answer_was_dealt_with():
    rng = np.random.default_rng(0)
    first, second = draw(rng, 4), draw(rng, 4)
    right, seen, asked = expected(first), [], []
    added, dealing, go_on = threading.Event(), threading.Event(), threading.Event()

    def refuse_once(pieces, goals, scorer):
        asked.append(goals)
        if len(asked) > 1:
            return arithmetic(pieces, goals, scorer)
        assert added.wait(10)
        raise LinkError("who is that?")

    def send_again(answer):
        dealing.set()
        assert go_on.wait(10)
        seen.append(expected(first))

    with listening(refuse_once) as listener:
        link = Link(listener.address)
        link.send(first).add_done_callback(send_again)
        added.set()
        assert dealing.wait(10)
        link.send(second)
        go_on.set()
        link.send(draw(rng, 1)).result(10)
        link.close()
    np.testing.assert_array_equal(seen[0], right)
