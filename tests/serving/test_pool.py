"""A pool of two real actors: its scores are an in-process RewardModel's, whatever happens."""

import dataclasses
import gc
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.exceptions import GetTimeoutError
from weighted import Weighted

from rllib_vlm_reward.errors import GoalError, PoolError
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Head
from rllib_vlm_reward.reward_model.readouts import Focal, Holds
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving import RewardPool, deployment
from rllib_vlm_reward.serving import pool as pool_module
from rllib_vlm_reward.serving.request import Request
from rllib_vlm_reward.serving.router import NAMESPACE
from rllib_vlm_reward.serving.shared_memory.client import SharedMemoryClient

# Batches of another size take other paths through matmul, which may change the last bits.
TOLERANCE = 1e-6


def assert_right(scores, request, model, scorer):
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, model.score(*request, scorer), rtol=0, atol=TOLERANCE)


def test_scores_are_those_of_an_in_process_model(pool, requests, model, scorer):
    for size in (0, 1, 3, 8, 20):  # 20 is above max_batch_size
        (request,) = requests(1, size)
        assert_right(pool.score(*request, scorer), request, model, scorer)


def test_the_same_request_alone_gives_the_same_bits_from_any_actor(pool, requests, scorer):
    (request,) = requests(1)
    scores = [pool.score(*request, scorer) for _ in range(4)]
    assert all(np.array_equal(scores[0], other) for other in scores[1:])


def test_many_requests_under_way_each_get_their_own_scores(pool, requests, model, scorer):
    sent = requests(40)
    pending = [pool.submit(*request, scorer) for request in sent]
    for answer, request in zip(pending, sent, strict=True):
        assert_right(answer.result(), request, model, scorer)


def test_both_actors_work_and_count_what_they_did(pool, requests, scorer):
    before = pool.stats()
    for request in requests(6):
        pool.score(*request, scorer)
    after = pool.stats()
    assert [row["actor"] for row in after] == ["pool/0", "pool/1"]
    for old, new in zip(before, after, strict=True):
        assert new["up"]
        assert new["frames"] - old["frames"] == 9
        assert new["batches"] - old["batches"] == 3
        assert new["p99_ms"] >= new["p50_ms"] > 0
        assert 0 < new["busy_share"] <= 1


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def gate(scorer, tmp_path):
    """A scorer that writes ``entered`` into its folder and holds its batch until ``open`` is."""

    @dataclasses.dataclass(frozen=True)  # local, so that it is pickled with its code
    class Gate(Head):
        range = (-1.0, 1.0)

        folder: str

        def __call__(self, images, bank, goals):
            Path(self.folder, "entered").touch()
            while not Path(self.folder, "open").exists():
                time.sleep(0.01)
            return images[:, 0]

    yield Scorer(scorer.goals, Gate(str(tmp_path)))
    (tmp_path / "open").touch()


def test_requests_that_wait_join_and_control_calls_do_not_wait(
    client, gate, requests, model, scorer
):
    one = client(serving={"num_actors": 1})
    (before,) = one.stats()
    held = one.submit(*requests(1)[0], gate)
    wait_for(Path(gate.head.folder, "entered").exists)
    small = requests(6, 1)
    pending = [one.submit(*request, scorer) for request in small]
    wait_for(lambda: one.stats()[0]["queue"] == 6)  # frames
    assert one.describe()[0]["pid"] == before["pid"]
    assert not held.poll()
    Path(gate.head.folder, "open").touch()
    for answer, request in zip(pending, small, strict=True):
        assert_right(answer.result(), request, model, scorer)
    (after,) = one.stats()
    assert after["batches"] - before["batches"] == 2
    assert after["frames"] - before["frames"] == 3 + 6


def test_on_one_node_frames_travel_in_shared_memory(client, requests, model, scorer, monkeypatch):
    one = client(serving={"num_actors": 1})
    shared = []
    send = SharedMemoryClient.send
    monkeypatch.setattr(
        SharedMemoryClient, "send", lambda *args: shared.append(args) or send(*args)
    )
    sent = requests(4)
    for request in sent:
        assert_right(one.score(*request, scorer), request, model, scorer)
    assert len(shared) == 3  # the first went through Ray, with the scorer


def test_a_client_that_is_dropped_closes_its_connections(client, requests, scorer):
    def sockets():
        gc.collect()
        files = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return sum(file.is_symlink() and "socket:" in os.readlink(file) for file in files)

    client().score(*requests(1)[0], scorer)  # Ray keeps a connection to whom it got handles from
    before = sockets()
    one = client()
    for request in requests(6):
        one.score(*request, scorer)
    assert sockets() >= before + 4  # one to each actor, and the two that end a wait
    del one
    wait_for(lambda: sockets() <= before)


def test_an_env_may_draw_its_next_frames_into_the_same_memory(client, requests, model, scorer):
    one = client(serving={"num_actors": 1})
    for _ in range(2):  # through Ray, and in shared memory
        ((frames, goals),) = requests(1)
        drawn = [frame.copy() for frame in frames]
        pending = one.submit(drawn, goals, scorer)
        for frame in drawn:
            frame[:] = 0
        assert_right(pending.result(), (frames, goals), model, scorer)


def test_a_text_is_encoded_once_a_pool_whoever_asks(client, pool, config, requests):
    new = config.model_copy(update={"goals": ("a {pink|teal} {cone|ring}",)})
    scorer, request = new.scorer, requests(1)[0]
    before = sum(row["texts_encoded"] for row in pool.stats())
    for one in (client(), client()):
        for _ in range(4):  # to both actors
            one.score(*request, scorer)
        one.embed_texts(["a pink cone", "a teal ring"])
    assert sum(row["texts_encoded"] for row in pool.stats()) - before == 4


def test_a_frame_is_encoded_once_by_the_actor_that_saw_it_lately(client, requests, scorer):
    one = client(serving={"num_actors": 1})
    ((frames, goals),) = requests(1, 6)
    frames = 255 - frames  # which no other test has shown it
    frames[4:] = frames[:2]
    (before,) = one.stats()
    for _ in range(3):
        one.score(frames, goals, scorer)
    (after,) = one.stats()
    assert after["frames_encoded"] - before["frames_encoded"] == 4
    assert after["cache_hits"] - before["cache_hits"] == 3 * 6 - 4


def test_other_goals_and_heads_share_the_pool(pool, config, requests, model):
    scorers = [
        config.model_copy(update={"head": head}).scorer
        for head in ["softmax", {"kind": "softmax", "temperature": 0.5}, "cosine"]
    ]
    sent = requests(9)
    pending = [pool.submit(*r, scorers[i % 3]) for i, r in enumerate(sent)]
    for i, request in enumerate(sent):
        assert_right(pending[i].result(), request, model, scorers[i % 3])


def test_two_heads_whose_arrays_differ_get_different_scores(pool, config, requests, model):
    (request,) = requests(1, 6)
    weights = np.ones(model.encoder.embed_dim, np.float32)
    other = weights.copy()
    other[len(other) // 2] = -1.0
    scores = []
    for each in (weights, other, weights.copy()):
        scorer = Scorer(config.goal_set, Weighted(each))
        scores.append(pool.score(*request, scorer))
        assert_right(scores[-1], request, model, scorer)
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
    np.testing.assert_array_equal(scores[0], scores[2])


def test_readouts_come_with_the_scores_through_ray_and_in_shared_memory(
    client, config, requests, model
):
    nouns = ("a red ball", "a red key", "a blue ball", "a blue key")
    scorer = dataclasses.replace(config.scorer, readouts=(Focal(nouns, (*nouns, "nothing")),))
    one = client(serving={"num_actors": 1})
    for request in requests(3):  # the first through Ray
        found = one.score(*request, scorer)
        np.testing.assert_allclose(found, model.answer(*request, scorer), atol=1e-5)
        assert found.shape == (3, 2)
    assert (found[:, 1] > 0).all()


def test_all_goals_that_hold_come_with_the_scores(client, config, requests, model):
    number = len(config.goal_set)
    holds = Holds(candidates=tuple(range(number)), threshold=1 / number, most=number)
    scorer = dataclasses.replace(config.scorer, readouts=(holds,))
    one = client(serving={"num_actors": 1})
    for frames, goals in requests(3):  # the first through Ray
        found = one.score(frames, goals, scorer)
        assert found.shape == (len(frames), 1 + 2 * number)
        alone = [
            model.score(frames, np.full(len(frames), goal, np.int64), config.scorer)
            for goal in range(number)
        ]
        for row, scores in zip(found, np.stack(alone, axis=1), strict=True):
            best = [goal for goal in np.argsort(-scores) if scores[goal] > 1 / number]
            assert row[1::2].tolist() == [*best, *[-1] * (number - len(best))]
            np.testing.assert_allclose(row[2::2][: len(best)], scores[best], atol=TOLERANCE)


def test_an_actor_forgets_old_scorers_and_fetches_them_again(client, config, requests, model):
    one = client(serving={"num_actors": 1})
    scorers = [
        config.model_copy(update={"head": {"kind": "softmax", "temperature": 0.1 + i}}).scorer
        for i in range(20)
    ]
    (request,) = requests(1)
    for scorer in [*scorers, scorers[0]]:
        assert_right(one.score(*request, scorer), request, model, scorer)


def test_a_scorer_is_put_once_and_fetched_once(client, requests, model, scorer, monkeypatch):
    one = client(serving={"num_actors": 1})
    sent = requests(3)
    puts = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: puts.append(value) or put(value))
    for request in sent:
        one.score(*request, scorer)
    ((shared, embeddings),) = puts
    assert shared == scorer
    assert embeddings.shape == (len(scorer.goals.statements), 16)
    # With a fingerprint that it knows, the actor does not look at what it is sent.
    actor = ray.get_actor("pool/0", namespace=NAMESPACE)
    known = Request(*sent[0], scorer.fingerprint)
    scores = actor.score.remote(known, [put("not a scorer")])
    assert_right(ray.get(scores).scores, sent[0], model, scorer)


def test_a_bad_request_fails_alone_and_as_itself(pool, requests, model, scorer):
    sent = requests(6)
    bad = sent[2][0], np.array([0, 1, 99])
    pending = [pool.submit(*request, scorer) for request in [*sent[:2], bad, *sent[3:]]]
    for i in (0, 1, 3, 4, 5):
        assert_right(pending[i].result(), sent[i], model, scorer)
    with pytest.raises(GoalError, match="99") as caught:
        pending[2].result()
    assert type(caught.value) is GoalError


def test_a_malformed_request_is_refused_before_it_is_sent(pool, requests, scorer):
    (frames, goals), *_ = requests(1)
    with pytest.raises(GoalError, match=r"got int64 \[2\], expected int64 \[3\]"):
        pool.submit(frames, goals[:2], scorer)


def test_texts_embed_as_in_process(pool, model):
    texts = ["a red ball", "a blue key"]
    np.testing.assert_allclose(
        pool.embed_texts(texts), model.embed_texts(texts), rtol=0, atol=TOLERANCE
    )


def test_many_texts_say_how_far_they_are(pool, model, monkeypatch, caplog):
    monkeypatch.setattr(pool_module, "_TEXTS_AT_ONCE", 2)
    texts = [f"room {i}" for i in range(5)]
    for after, said in ((3600.0, []), (0.0, ["2 of 5", "4 of 5", "5 of 5"])):
        monkeypatch.setattr(pool_module, "_PROGRESS_S", after)
        np.testing.assert_allclose(
            pool.embed_texts(texts), model.embed_texts(texts), rtol=0, atol=TOLERANCE
        )
        assert caplog.messages == [f"reward pool: embedded {part} texts" for part in said]


def test_actors_say_what_they_run(pool, tiny_clip):
    encoder = CLIPEncoder.load(tiny_clip)
    rows = pool.describe()
    assert len({row["pid"] for row in rows}) == 2
    for row in rows:
        assert row["encoder_fingerprint"] == encoder.fingerprint
        assert (row["embed_dim"], row["device"], row["precision"]) == (16, "cpu", "fp32")
        assert (row["lanes"], row["threads"]) == (1, 1)


def test_a_client_in_another_process_finds_the_pool(pool, config, requests, model, scorer):
    @ray.remote(num_cpus=0)
    def ask(frames, goals):
        client = RewardPool.connect("pool", config)
        client.report_failure("no frame")
        client.close()  # ends nothing: this process does not own the pool
        return RewardPool.connect("pool", config).score(frames, goals, config.scorer)

    (request,) = requests(1)
    assert_right(ray.get(ask.remote(*request)), request, model, scorer)
    pool.report_failure("no goal")
    assert pool.failures() == ["no frame", "no goal"]


def test_a_killed_actor_loses_no_request(pool, requests, model, scorer, stopped):
    pool.stats()
    sent = requests(30)
    with stopped(0) as (pid,):  # so that what it is sent is not answered before the kill
        pending = [pool.submit(*request, scorer) for request in sent[:8]]
        os.kill(pid, signal.SIGKILL)
    pending += [pool.submit(*request, scorer) for request in sent[8:]]
    for answer, request in zip(pending, sent, strict=True):
        assert_right(answer.result(), request, model, scorer)
    assert [row["restarts"] for row in pool.stats()] == [1, 0]
    assert pool.describe()[0]["pid"] != pid
    assert pool.retries == 0  # Ray's own retries were enough


def test_a_late_actors_requests_are_answered_by_the_other(client, requests, model, scorer, stopped):
    one = client(serving={"timeout_s": 1.0})
    sent = requests(4)
    one.score(*sent[0], scorer)
    with stopped(0):
        pending = [one.submit(*request, scorer) for request in sent]
        for answer, request in zip(pending, sent, strict=True):
            assert_right(answer.result(), request, model, scorer)
    assert one.retries == 2


def test_a_stuck_pool_is_an_error_in_bounded_time(client, requests, scorer, stopped):
    one = client(serving={"timeout_s": 0.5, "max_in_flight": 3})
    sent = requests(4)
    one.score(*sent[0], scorer)
    with stopped(0, 1):
        start = time.monotonic()
        for request in sent[:3]:
            one.submit(*request, scorer)
        assert time.monotonic() - start < 0.5
        with pytest.raises(PoolError, match="raise timeout_s"):
            one.submit(*sent[3], scorer)
        assert 1 <= time.monotonic() - start < 3


def test_at_most_max_in_flight_requests_are_under_way(client, requests, model, scorer, stopped):
    one = client(serving={"max_in_flight": 2})
    sent = requests(3)
    one.score(*sent[0], scorer)
    with stopped(0, 1) as pids:
        pending = [one.submit(*request, scorer) for request in sent[:2]]
        waker = threading.Timer(0.5, lambda: [os.kill(pid, signal.SIGCONT) for pid in pids])
        start = time.monotonic()
        waker.start()
        pending.append(one.submit(*sent[2], scorer))
        assert time.monotonic() - start >= 0.5
        waker.join()
    for answer, request in zip(pending, sent, strict=True):
        assert_right(answer.result(), request, model, scorer)


def test_a_pool_is_not_pickled_but_named(pool):
    with pytest.raises(PoolError, match=r"RewardPool.connect"):
        pickle.dumps(pool)


def test_a_taken_name_is_an_error_and_leaves_the_pool_alone(pool, config):
    with pytest.raises(PoolError, match=r"'pool': the name is taken.*pool_name"):
        RewardPool.start(config, name="pool")
    assert all(row["up"] for row in pool.stats())


def test_connecting_to_what_is_not_there(cluster, config):
    with pytest.raises(PoolError, match="'nobody': expected 2 actors"):
        RewardPool.connect("nobody", config)


@pytest.fixture
def looked_up(monkeypatch):
    """The names that this process looks up."""
    names, get_actor = [], ray.get_actor

    def noted(name, **kwargs):
        names.append(name)
        return get_actor(name, **kwargs)

    monkeypatch.setattr(ray, "get_actor", noted)
    return names


def test_a_client_looks_up_one_name_and_gets_the_other_actors_from_it(
    pool, config, looked_up, requests, scorer
):
    client = RewardPool.connect("pool", config)
    assert looked_up == ["pool/0"]
    assert [row["actor"] for row in client.stats()] == ["pool/0", "pool/1"]
    for request in requests(6):
        assert np.allclose(client.score(*request, scorer), pool.score(*request, scorer), atol=1e-5)
    client.close()


def test_a_client_looks_up_all_names_if_the_first_actor_does_not_answer(
    pool, config, looked_up, monkeypatch
):
    def late(answer, timeout_s):
        raise GetTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(deployment, "fetch", late)
        client = RewardPool.connect("pool", config)
    assert looked_up == ["pool/0", "pool/0", "pool/1"]
    assert all(row["up"] for row in client.stats())
    client.close()


def test_a_pool_larger_than_the_cluster_is_refused(cluster, config):
    large = config.model_copy(update={"serving": {"num_cpus_per_actor": 2.0, "num_actors": 3}})
    with pytest.raises(PoolError, match=r"asked for 3 actors of 2 CPUs.*4 CPUs.*room for 2"):
        RewardPool.start(large, name="large")


def test_a_pool_starts_before_an_env_says_where_its_agent_is(cluster, config):
    nouns, bonus = [{"noun": "{}"}], {"kind": "focal", "weight": 1.0, "centre": "agent"}
    serving = {"num_actors": 1, "num_cpus_per_actor": 0.0}
    changes = {"encoder": "small", "templates": nouns, "bonus": bonus, "serving": serving}
    config = config.model_copy(update=changes)
    assert config.scorer.readouts[0].centre is None
    RewardPool.start(config, name="placed").close()


def test_close_ends_the_actors_and_frees_the_name(cluster, config, requests, scorer):
    single = config.model_copy(update={"serving": {"num_actors": 1, "num_cpus_per_actor": 0.0}})
    pool = RewardPool.start(single, name="brief")
    # No CPU reserved, so torch takes all cores. Ray counts 4 on paper; there may be fewer.
    (row,) = pool.describe()
    assert row["lanes"] * row["threads"] == min(4, len(os.sched_getaffinity(0)))
    client = RewardPool.connect("brief", single)
    pool.close()
    pool.close()
    (request,) = requests(1)
    with pytest.raises(PoolError, match="after close"):
        pool.score(*request, scorer)

    def refused():
        try:
            client.score(*request, scorer)
        except PoolError as error:
            return "no actor is left" in str(error)
        return False

    wait_for(refused)  # Ray kills behind the caller's back: a last request may be answered
    with pytest.raises(PoolError, match="no actor is left"):
        client.failures()
    with pytest.raises(PoolError, match="expected 1 actors"):
        RewardPool.connect("brief", single)
