"""Simulated and served rules do the same; simulated and measured pools are as fast."""

import queue
import random
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
import scale_simulation
import simpy
from scale_simulation import Settings, SimActor, SimRunner, simulate

from rllib_vlm_reward.serving.autoscale import Need
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.load_balancer import LoadBalancer
from rllib_vlm_reward.serving.request import Request
from rllib_vlm_reward.serving.router import Pending, Router

ACTORS, RUNNERS, IN_FLIGHT, FRAMES, MAX_BATCH = 3, 4, 3, 5, 8


def simulated_trace():
    """What happened in a simulation, and when: requests sent, batches taken and ended."""
    trace, env, rng = [], simpy.Environment(), random.Random(0)
    actors = {}

    def ran(what, batch, actor):
        parts = [(it.run, it.number, rows.start, rows.stop) for it, rows in batch]
        trace.append((env.now, what, actor, parts))

    # Speeds and steps without a common measure, so that no two things happen at once.
    for index in range(ACTORS):
        frame_s = 0.003 * rng.uniform(0.5, 1.5)
        actors[index] = SimActor(env, index, frame_s, max_batch_size=MAX_BATCH, lanes=1, log=ran)
    for runner in range(RUNNERS):

        def did(what, number, other, runner=runner):
            trace.append((env.now, what, other, (runner, number)))

        settings = Settings(
            FRAMES, 0.02 * rng.uniform(0.5, 1.5), until=2.0, in_flight=IN_FLIGHT, network_s=0.0
        )
        SimRunner(env, actors, settings, run=runner, seed=runner, log=did)
    env.run()
    return trace


class Served:
    """A batcher that notes its batches, each of which ends when the test says so."""

    def __init__(self):
        self.started, self.gate = queue.Queue(), queue.Queue()
        self.batcher = Batcher(self.score, max_batch_size=MAX_BATCH)

    def score(self, batches, goals, scorer):
        self.started.put([frames[[0, -1], 0, 0].tolist() for frames in batches])
        self.gate.get(timeout=20)
        return np.zeros(len(goals), np.float32)


class Asked(Future):
    """A request at an actor, whose answer reports how many frames wait there."""

    def __init__(self, client, request, clock):
        super().__init__()
        self.client, self.clock = client, clock
        self.answer = client.actor.batcher.submit(request, 0)

    def result(self):
        self.client.reported_waiting, self.client.reported_at = super().result(), self.clock()


class ServedRunner:
    """What one client of a pool does, without Ray: a Router, and a Pending for each request."""

    def __init__(self, run, actors, clock):
        self.run, self.clock, self.asked, self.under_way = run, clock, {}, deque()
        self.allowed = 0
        self.router = Router(pause_s=60.0)
        seeded = LoadBalancer(60.0, seed=run)
        self.router._random, self.router._turn = seeded._random, seeded._turn
        self.router._clock = clock
        for index, actor in enumerate(actors):
            client = SimpleNamespace(
                actor=actor, index=index, is_local=False, reported_waiting=0, reported_at=-1e9
            )
            self.router.add(index, client)

    def settle(self):
        while self.under_way and self.under_way[0].poll():
            self.under_way.popleft()

    def make_room(self, allowed):
        """Begin to wait until so many requests may be under way, as a trace says."""
        self.settle()
        self.allowed = allowed

    def send(self, number):
        """Send a request as RewardPool does; return the actor that was chosen."""
        frames = np.empty((FRAMES, 1, 1, 3), np.uint8)
        for row in range(FRAMES):
            frames[row] = self.run, number, row
        request = Request(frames, np.zeros(FRAMES, np.int64), "ab" * 32, run=self.run)
        while len(self.under_way) > self.allowed:
            self.under_way.popleft().wait()

        def ask(client):
            self.asked[number] = Asked(client, request, self.clock)
            return self.asked[number]

        self.under_way.append(
            Pending(self.router, self.router.choose, ask, frames=FRAMES, timeout_s=20.0)
        )
        return self.asked[number].client.index


def test_the_served_rules_do_what_the_simulation_does():
    trace, clock = simulated_trace(), SimpleNamespace(now=0.0)
    assert sum(what == "make room" and other == 0 for _, what, other, _ in trace) > 2 * RUNNERS
    actors = [Served() for _ in range(ACTORS)]
    runners = [ServedRunner(run, actors, lambda: clock.now) for run in range(RUNNERS)]
    joined = split = 0
    for clock.now, what, actor, detail in trace:
        if what == "make room":
            runners[detail[0]].make_room(actor)
        elif what == "send":
            run, number = detail
            assert runners[run].send(number) == actor
        elif what == "take":
            parts = actors[actor].started.get(timeout=20)
            assert parts == [
                [[run, number, start], [run, number, stop - 1]]
                for run, number, start, stop in detail
            ]
            joined += len(parts) > 1
            split += any(stop - start < FRAMES for _, _, start, stop in detail)
        else:
            waiting = actors[actor].batcher.waiting
            actors[actor].gate.put(None)
            for run, number, _, stop in detail:
                if stop == FRAMES:
                    asked = runners[run].asked[number]
                    asked.answer.result(timeout=20)
                    asked.set_result(waiting)
                    if runners[run].allowed == 0:
                        runners[run].settle()
    for served in actors:
        served.batcher.close()
    assert joined > 20
    assert split > 20


def test_a_simulated_pool_is_as_fast_as_the_measured_one():
    for count, speeds in scale_simulation.measured().items():
        assert speeds["simulated_over_measured"] == pytest.approx(1, abs=0.05), count


def test_a_lost_actor_holds_up_its_requests_and_loses_none():
    settings = Settings(frames=8, step_s=0.1, until=20.0)
    kept = simulate([640.0] * 4, 8, settings)
    lost = simulate([640.0] * 4, 8, settings, losses=[(2.0, 1, 5.0)])
    assert lost["longest_s"] >= 3.0 > 0.5 > kept["longest_s"]
    assert lost["frames_per_s"] > 0.5 * kept["frames_per_s"]


def test_a_pool_that_may_grow_grows_to_what_the_load_needs():
    step_s = 16 * 8 / (0.7 * 4 * 640)  # what keeps four actors busy for 0.7 of the time
    found = simulate([640.0] * 8, 16, Settings(8, step_s, until=120.0), need=Need(1, 8), load_s=2.0)
    assert 3 <= found["actors"] <= 5


SMALL = SimpleNamespace(
    speed=640.0, request=32, seconds=20.0, restart=5.0, actors=[3, 8], runners=[5, 80]
)


def test_devices_of_different_speed_keep_env_runners_waiting():
    run = scale_simulation.scenarios(SMALL, actors=8, runners=80)
    uneven = run["a quarter at half speed, load 0.8"]()
    even = run["even, load 0.9"]()
    # The load is a share of what all devices score: 6 at full speed and 2 at half of it.
    assert uneven["frames_per_s"] < 0.8 * 640 * (6 + 2 / 2)
    assert even["frames_per_s"] == pytest.approx(0.9 * 640 * 8, rel=0.1)
    assert uneven["share_that_runners_waited"] > 0.1 > 0.05 > even["share_that_runners_waited"]
    assert uneven["p99_ms"] > 3 * even["p99_ms"]


def test_what_an_iteration_asks_of_the_driver_is_counted(monkeypatch):
    costs = {"call_us": 100.0, "name_us": 2000.0}
    monkeypatch.setattr(scale_simulation, "ray_costs", lambda: costs)
    found = scale_simulation.driver(SMALL)
    assert found["costs"] == costs
    assert list(found["at"]) == ["3 actors, 5 env runners", "8 actors, 80 env runners"]
    small, large = found["at"].values()
    assert small["calls_to_actors_an_iteration"] == 6  # each is asked for its figures and failures
    assert small["seconds_of_them"] == 0.001  # 6 times 100 us, rounded
    assert small["names_looked_up_at_the_start"] == 8  # by 5 env runners, and of 3 actors
    assert small["seconds_of_them_at_one_head_node"] == 0.02
    assert small["names_listed_a_second_with_max_actors"] == 3  # 5 env runners, 3 names, every 5 s
    assert large["reports_of_env_runners_an_iteration"] == 80
    frames = np.zeros((32, 56, 56, 3), np.uint8)  # of a vector step, of which a fragment has 32
    gigabytes = 80 * 32 * frames.nbytes / 1e9
    assert large["gigabytes_of_frames_an_iteration"] == pytest.approx(gigabytes, abs=0.005)
