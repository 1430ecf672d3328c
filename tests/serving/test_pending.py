"""Late, dead and failing actors: small actors that are late, fail or answer on demand."""

import os
import sys
import threading
import time

import pytest
import ray

from rllib_vlm_reward.errors import PoolError, RewardError
from rllib_vlm_reward.serving.router import ActorClient, Pending, Router

LIMIT_S = 0.5


@pytest.fixture(scope="module")
def actor_class(cluster):
    class Actor:
        """Answers with its name, unless its name says otherwise."""

        def __init__(self, name):
            self.name = name
            self.opened = threading.Event()

        def ask(self, question):
            if self.name == "stuck":
                self.opened.wait()
            if self.name == "wrong":
                raise RewardError(f"cannot answer {question}")
            return self.name, question

        def location(self):
            return "elsewhere", None

        def open(self):
            self.opened.set()

    return ray.remote(num_cpus=0, max_concurrency=4)(Actor)


@pytest.fixture
def actors_of(actor_class):
    made = []

    def make(*names):
        actors = [actor_class.remote(name) for name in names]
        made.extend(actors)
        ray.get([actor.__ray_ready__.remote() for actor in actors])
        return actors

    yield make
    for actor in made:
        ray.kill(actor)


def router_to(actors, pause_s=60):
    router = Router(pause_s)
    for index, actor in enumerate(actors):
        router.add(index, ActorClient(actor, "here", router.wake, router.located))
    return router


def ask(router, question="q"):
    return Pending(
        router,
        router.choose,
        lambda client: client.call("ask", question),
        frames=1,
        timeout_s=LIMIT_S,
    )


def starting_with(first, actors):
    """A router whose next choice is the actor at this index."""
    router = router_to(actors)
    for other in set(range(len(actors))) - {first}:
        router.sent(other, 1)
    return router


def test_the_answer_of_a_healthy_actor(actors_of):
    router = router_to(actors_of("a"))
    pending = ask(router)
    assert pending.result() == pending.result() == ("a", "q")
    assert router.retries == 0


def test_an_actors_error_comes_out_as_itself(actors_of):
    pending = ask(router_to(actors_of("wrong")), "why")
    for _ in range(2):
        with pytest.raises(RewardError, match=r"^cannot answer why$") as caught:
            pending.result()
    assert type(caught.value) is RewardError


def test_a_late_actors_request_goes_to_another_which_is_then_preferred(actors_of):
    router = starting_with(0, actors_of("stuck", "a"))
    start = time.monotonic()
    assert ask(router).result() == ("a", "q")
    assert LIMIT_S <= time.monotonic() - start < LIMIT_S + 1
    assert router.retries == 1
    start = time.monotonic()
    assert [ask(router).result()[0] for _ in range(3)] == ["a"] * 3
    assert time.monotonic() - start < LIMIT_S


def test_the_late_actors_answer_still_counts(actors_of):
    late, stuck = actors_of("stuck", "stuck")
    pending = ask(starting_with(0, [late, stuck]))
    opener = threading.Timer(1.5 * LIMIT_S, lambda: late.open.remote())
    opener.start()
    assert pending.result() == ("stuck", "q")
    opener.join()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_late_twice_is_an_error_in_bounded_time(actors_of, count):
    pending = ask(router_to(actors_of(*["stuck"] * count)))
    start = time.monotonic()
    with pytest.raises(PoolError, match=r"timeout_s=0\.5 .* raise timeout_s"):
        pending.result()
    assert time.monotonic() - start < 2 * LIMIT_S + 1
    start = time.monotonic()
    with pytest.raises(PoolError):
        pending.result()
    assert time.monotonic() - start < 0.1


def test_an_ended_actors_request_goes_to_another_at_once(actors_of):
    actors = actors_of("stuck", "a")
    router = starting_with(0, actors)
    pending = ask(router)
    ray.kill(actors[0])
    assert pending.result() == ("a", "q")
    assert [ask(router).result()[0] for _ in range(4)] == ["a"] * 4


def test_with_all_actors_ended_no_request_is_sent(actors_of):
    actors = actors_of("stuck", "stuck")
    router = router_to(actors)
    pending = ask(router)
    for actor in actors:
        ray.kill(actor)
    with pytest.raises(PoolError, match="no actor is left"):
        pending.result()
    with pytest.raises(PoolError, match="no actor is left"):
        ask(router)


def test_poll_does_not_wait(actors_of):
    (stuck,) = actors_of("stuck")
    pending = ask(router_to([stuck]))
    start = time.monotonic()
    assert not pending.poll()
    assert time.monotonic() - start < 0.1
    ray.get(stuck.open.remote())
    deadline = time.monotonic() + 10
    while not pending.poll():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert pending.result() == ("stuck", "q")


def test_load_returns_to_zero_whatever_happened(actors_of):
    actors = actors_of("stuck", "a", "wrong")
    router = router_to(actors, pause_s=0)
    pendings = [ask(router) for _ in range(6)]
    ray.kill(actors[0])
    for pending in pendings:
        pending.wait()
    assert router._under_way == {0: 0, 1: 0, 2: 0}


class Caller:
    """Asks an actor that cannot answer, and then ends as an env runner that failed does."""

    def __init__(self, actor):
        self.router = router_to([actor])

    def process(self):
        return os.getpid()

    def ask_and_leave(self, cancels, leaves):
        with pytest.raises(PoolError, match="no answer"):
            ask(self.router).result()
        if cancels:
            self.router.cancel()
        leaves.touch()
        sys.exit(1)


def test_a_process_that_cancels_its_requests_can_end(actor_class, tmp_path):
    """Of Ray 2.60: one that does not waits for their answers, here for ever."""
    nowhere = actor_class.options(resources={"on no node": 1}).remote("nowhere")
    caller_class = ray.remote(Caller).options(num_cpus=0)
    callers = {cancels: caller_class.remote(nowhere) for cancels in (True, False)}
    processes = {cancels: ray.get(each.process.remote()) for cancels, each in callers.items()}
    left = {
        cancels: each.ask_and_leave.remote(cancels, tmp_path / f"{cancels}")
        for cancels, each in callers.items()
    }
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(left[True])
    try:
        assert wait_for_end(processes[True], seconds=20)
        while not (tmp_path / "False").exists():
            time.sleep(0.05)
        assert not wait_for_end(processes[False], seconds=1)
    finally:
        ray.kill(nowhere)
    assert wait_for_end(processes[False], seconds=20)


def wait_for_end(process, seconds):
    deadline = time.monotonic() + seconds
    while os.path.exists(f"/proc/{process}") and time.monotonic() < deadline:
        time.sleep(0.05)
    return not os.path.exists(f"/proc/{process}")
