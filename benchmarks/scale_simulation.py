"""Pools of 16 to 1,024 actors and up to 10,000 env runners, in simulated time.

    python benchmarks/scale_simulation.py

The rules are those that are served: LoadBalancer chooses the actor, FairQueue forms the batches,
Need scales the pool. What stands around them is simulated: env runners that step and send, the
network, devices that take so long for a frame, and actors that are lost.

An env runner has 32 requests under way at most, reads its answers in order, and waits for all of
them at the end of its fragment, as a pool's client does; past timeout_s it asks another actor. A
lost actor is down until its process has started again and loaded its model; then it gets its
requests once more, from Ray.

Not simulated: actors that leave, shared memory, and the 64 calls that Ray lets one actor have at
once from other nodes. The driver is not simulated either. What an iteration asks of it is counted,
and the times of a call and of a name are measured on a Ray of this machine. Prints one JSON object
last. Needs SimPy: pip install ".[benchmark]".
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import simpy
from report import finish, parser, say, start_ray

from rllib_vlm_reward.serving.autoscale import Need
from rllib_vlm_reward.serving.fair_queue import FairQueue
from rllib_vlm_reward.serving.load_balancer import LoadBalancer

MEASURED = Path(__file__).parent.parent / "docs" / "benchmarks" / "scaling.json"
LOOK_S = 5.0  # of the autoscaler, and of a client that looks for new actors
FRAGMENT_STEPS = 32  # vector steps of an env runner, after which it waits for all scores
FRAME_BYTES = 56 * 56 * 3
Steps = Generator[simpy.Event, Any, None]


@dataclasses.dataclass(eq=False)
class SimRequest:
    """Frames of one vector step at one actor; what FairQueue asks of a request."""

    number: int
    frames: int
    run: int
    answered: simpy.Event

    def __post_init__(self) -> None:
        self.missing = self.frames

    def __len__(self) -> int:
        return self.frames

    def can_join(self, other: "SimRequest") -> bool:
        """Return whether both share a batch: here always."""
        return True


Batch = list[tuple[SimRequest, slice]]


class SimActor:
    """A device with its queue: lanes take batches, and the device does one at a time.

    Args:
        env: of SimPy.
        index: of the actor.
        frame_s: seconds that a frame takes.
        max_batch_size: frames in a batch at most.
        lanes: batches that are taken at once; what waits is divided among them.
        log: gets ("take", batch, index) and ("end", batch, index).
    """

    def __init__(
        self,
        env: simpy.Environment,
        index: int,
        frame_s: float,
        max_batch_size: int = 64,
        lanes: int = 2,
        log: Callable[[str, Batch, int], None] = lambda *_: None,
    ) -> None:
        self._env, self.index, self._frame_s, self._log = env, index, frame_s, log
        self._max_batch_size = max_batch_size
        self.queue: FairQueue[SimRequest] = FairQueue()
        self._device = simpy.Resource(env, 1)
        self._sleeping: deque[simpy.Event] = deque()
        self._idle = 0
        self._up_at = 0.0
        self.busy_seconds = 0.0
        for _ in range(lanes):
            env.process(self._lane())

    def submit(self, request: SimRequest) -> None:
        """Queue a request, and wake the lanes."""
        self.queue.add(request)
        while self._sleeping:
            self._sleeping.popleft().succeed()

    def lose(self, seconds: float) -> None:
        """Be down for so long; the batch that runs is done again."""
        self._up_at = self._env.now + seconds

    def _lane(self) -> Steps:
        while True:
            self._idle += 1
            while not self.queue:
                awake = self._env.event()
                self._sleeping.append(awake)
                yield awake
            batch = self.queue.take(self._max_batch_size, self._idle)
            self._log("take", batch, self.index)
            self._idle -= 1
            with self._device.request() as turn:
                yield turn
                yield from self._compute(batch)
            for request, rows in batch:
                request.missing -= rows.stop - rows.start
                if not request.missing and not request.answered.triggered:
                    request.answered.succeed((self.index, self.queue.waiting))

    def _compute(self, batch: Batch) -> Steps:
        seconds = self._frame_s * sum(rows.stop - rows.start for _, rows in batch)
        while True:
            if self._env.now < self._up_at:
                yield self._env.timeout(self._up_at - self._env.now)
            up_at = self._up_at
            yield self._env.timeout(seconds)
            self.busy_seconds += seconds
            if up_at == self._up_at:  # else it was lost meanwhile
                break
        self._log("end", batch, self.index)


class SimClient:
    """What a client knows of one actor."""

    __slots__ = ("is_local", "reported_at", "reported_waiting")

    def __init__(self, is_local: bool = False) -> None:
        self.is_local, self.reported_waiting, self.reported_at = is_local, 0, -1e9


@dataclasses.dataclass
class Settings:
    """What is the same for all env runners of a simulation.

    Attributes:
        frames: of a request.
        step_s: seconds of a vector step; 0 sends as fast as answers come.
        until: the second at which they stop.
        in_flight: requests under way at most.
        network_s: seconds on the way, each direction.
        timeout_s: until a request goes to another actor.
    """

    frames: int
    step_s: float
    until: float
    in_flight: int = 32
    network_s: float = 0.001
    timeout_s: float = 60.0


@dataclasses.dataclass(eq=False)
class SimPending:
    """One vector step's answer to come, from the actors that were asked for it."""

    number: int
    answered: simpy.Event
    tried: list[int] = dataclasses.field(default_factory=list)


class LateTwiceError(Exception):
    """A request was late at two actors: a run would end here, with a PoolError."""


class SimRunner:
    """An env runner: steps, sends, and waits for its oldest request where too many are under way.

    Args:
        env: of SimPy.
        actors: by index; may grow.
        settings: of the simulation.
        run: a number of the run it belongs to.
        seed: of its balancer.
        log: gets ("send", number of the request, actor), and ("make room", requests that are under
            way, those that may be) where the runner begins to wait for others.
    """

    def __init__(
        self,
        env: simpy.Environment,
        actors: dict[int, SimActor],
        settings: Settings,
        run: int = 0,
        seed: int = 0,
        log: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._env, self._actors, self._settings = env, actors, settings
        self._run, self._log = run, log
        self.balancer: LoadBalancer[SimClient] = LoadBalancer(
            settings.timeout_s, lambda: env.now, seed
        )
        self.meet()
        self._pendings: deque[SimPending] = deque()
        self._numbers = itertools.count()
        self.latencies: list[float] = []
        self.scored = 0
        self.waited = 0.0
        self._start_s = random.Random(seed).random() * settings.step_s
        self.process = env.process(self._play())

    def meet(self) -> None:
        """Learn of actors that came."""
        for index in self._actors.keys() - self.balancer.clients.keys():
            self.balancer.add(index, SimClient())

    def _play(self) -> Steps:
        settings = self._settings
        yield self._env.timeout(self._start_s)
        while self._env.now < settings.until:
            yield self._env.timeout(settings.step_s)
            yield from self._make_room(settings.in_flight - 1)
            pending = SimPending(next(self._numbers), self._env.event())
            self._try(pending)
            self._pendings.append(pending)
            sent_at = self._env.now
            pending.answered.callbacks.append(
                lambda _, sent_at=sent_at: self.latencies.append(self._env.now - sent_at)
            )
            if settings.step_s and pending.number % FRAGMENT_STEPS == FRAGMENT_STEPS - 1:
                yield from self._make_room(0)
        yield from self._make_room(0)

    def _make_room(self, under_way: int) -> Steps:
        """As RewardPool does: settle the oldest that are answered, and wait for others."""
        began = self._env.now
        self._log("make room", len(self._pendings), under_way)
        while self._pendings and self._pendings[0].answered.processed:
            self._settle()
        while len(self._pendings) > under_way:
            pending = self._pendings[0]
            late = self._env.timeout(self._settings.timeout_s)
            yield pending.answered | late
            if pending.answered.triggered:
                self._settle()
                continue
            for actor in pending.tried:
                self.balancer.late(actor)
            if len(pending.tried) == 2 or not self._try(pending):
                raise LateTwiceError
        self.waited += self._env.now - began

    def _settle(self) -> None:
        pending = self._pendings.popleft()
        for actor in pending.tried:
            self.balancer.ended(actor, self._settings.frames)
        actor, waiting = pending.answered.value
        client = self.balancer.clients[actor]
        client.reported_waiting, client.reported_at = waiting, self._env.now
        self.scored += self._settings.frames

    def _try(self, pending: SimPending) -> bool:
        actor = self.balancer.choose(pending.tried)
        if actor is None:
            return False
        pending.tried.append(actor)
        self._log("send", pending.number, actor)
        self.balancer.sent(actor, self._settings.frames)
        request = SimRequest(pending.number, self._settings.frames, self._run, pending.answered)
        arrives = self._env.timeout(self._settings.network_s)
        arrives.callbacks.append(lambda _: self._actors[actor].submit(request))
        return True


def simulate(
    speeds: Sequence[float],
    runners: int,
    settings: Settings,
    losses: Sequence[tuple[float, int, float]] = (),
    need: Need | None = None,
    load_s: float = 20.0,
    lanes: int = 2,
) -> dict[str, float]:
    """Return how a pool fares.

    Args:
        speeds: frames/s of each actor's device; with ``need``, of the first ones and those to come.
        runners: how many env runners send to it.
        settings: of those.
        losses: the second, the actor and for how long it is down.
        need: grows and shrinks the pool; None keeps it.
        load_s: seconds until a new actor serves.
        lanes: of each actor.
    """
    env = simpy.Environment()
    first = need.least if need else len(speeds)
    actors = {i: SimActor(env, i, 1 / speeds[i], lanes=lanes) for i in range(first)}
    sim_runners = [SimRunner(env, actors, settings, seed=seed) for seed in range(runners)]

    def lose() -> Steps:
        for at, actor, seconds in sorted(losses):
            yield env.timeout(at - env.now)
            actors[actor].lose(seconds)

    def scale(need: Need) -> Steps:
        while True:
            yield env.timeout(LOOK_S)
            wanted = need.check({i: a.busy_seconds for i, a in actors.items()}, env.now)
            if wanted > len(actors):
                yield env.timeout(load_s)
                new = wanted - 1
                actors[new] = SimActor(env, new, 1 / speeds[new], lanes=lanes)
                for runner in sim_runners:
                    runner.meet()

    env.process(lose())
    if need is not None:
        env.process(scale(need))
    try:
        env.run(until=settings.until)
        busy = sum(actor.busy_seconds for actor in actors.values())
        scored = sum(runner.scored for runner in sim_runners)
        env.run(until=env.all_of([runner.process for runner in sim_runners]))
    except LateTwiceError:
        return {"run_ended_after_s": round(env.now, 1)}
    waited = sum(runner.waited for runner in sim_runners)
    latencies = 1000 * np.concatenate([runner.latencies for runner in sim_runners])
    p50, p99 = np.quantile(latencies, [0.5, 0.99])
    return {
        "frames_per_s": round(scored / settings.until, 1),
        "utilisation": round(busy / settings.until / len(actors), 3),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "longest_s": round(float(latencies.max()) / 1000, 2),
        "share_that_runners_waited": round(waited / runners / settings.until, 3),
        **({"actors": float(len(actors))} if need else {}),
    }


def measured() -> dict[str, dict[str, float]]:
    """Return frames/s of 1 to 8 actors, as benchmarks/scaling.py measured them and as simulated."""
    given = json.loads(MEASURED.read_text())
    frames = given["settings"]["request"]
    ideal = given["figures"]["ideal_frames_per_s_of_one"]
    found = {}
    for count, speeds in given["figures"]["frames_per_s"].items():
        settings = Settings(frames, 0.0, given["settings"]["seconds"])
        # That script starts one client for each of two nodes.
        simulated = simulate([ideal] * int(count), 2, settings)["frames_per_s"]
        found[count] = {
            "measured": speeds["median"],
            "simulated": simulated,
            "simulated_over_measured": round(simulated / speeds["median"], 3),
        }
    return found


def scenarios(
    args: argparse.Namespace, actors: int, runners: int
) -> dict[str, Callable[[], dict[str, float]]]:
    """Return what is simulated of a pool of so many actors and env runners."""
    rng = random.Random(0)
    even = [args.speed] * actors
    uneven = [args.speed * (0.5 if i % 4 == 0 else 1.0) for i in range(actors)]
    lost = max(1, actors // 50)
    losses = [
        (rng.uniform(0, args.seconds / 2), actor, args.restart)
        for actor in rng.sample(range(actors), lost)
    ]

    def with_load(load: float, speeds: Sequence[float], **options: Any) -> dict[str, float]:
        step_s = runners * args.request / (load * sum(speeds))
        timeout_s = options.pop("timeout_s", 60.0)
        settings = Settings(args.request, step_s, args.seconds, timeout_s=timeout_s)
        return simulate(speeds, runners, settings, **options)

    return {
        "even, load 0.6": lambda: with_load(0.6, even),
        "even, load 0.9": lambda: with_load(0.9, even),
        "a quarter at half speed, load 0.8": lambda: with_load(0.8, uneven),
        f"{lost} lost, load 0.6": lambda: with_load(0.6, even, losses=losses),
        f"{lost} lost, load 0.6, timeout_s 5": lambda: with_load(
            0.6, even, losses=losses, timeout_s=5.0
        ),
    }


def driver(args: argparse.Namespace) -> dict[str, Any]:
    """Return what an iteration asks of one driver, with the times of this machine's Ray."""
    costs = ray_costs()
    rows = {}
    for actors, runners in zip(args.actors, args.runners, strict=True):
        calls = 2 * actors  # describe() and failures()
        names = runners + actors  # an env runner looks up the first actor, and that one the others
        sampled = runners * args.request * FRAGMENT_STEPS * FRAME_BYTES
        rows[f"{actors} actors, {runners} env runners"] = {
            "calls_to_actors_an_iteration": calls,
            "seconds_of_them": round(calls * costs["call_us"] / 1e6, 3),
            "reports_of_env_runners_an_iteration": runners,
            "gigabytes_of_frames_an_iteration": round(sampled / 1e9, 2),
            "names_looked_up_at_the_start": names,
            "seconds_of_them_at_one_head_node": round(names * costs["name_us"] / 1e6, 2),
            "names_listed_a_second_with_max_actors": round(actors * runners / LOOK_S),
        }
    return {"costs": costs, "at": rows}


def ray_costs(calls: int = 500) -> dict[str, float]:
    """Return the microseconds of a call among many under way, and of a name that is looked up."""

    class Nobody:
        def answer(self) -> None:
            pass

    start_ray(num_cpus=2)
    actors = [ray.remote(Nobody).options(name=f"nobody/{i}", num_cpus=0).remote() for i in range(2)]
    ray.get([actor.answer.remote() for actor in actors])
    begin = time.perf_counter()
    ray.get([actors[i % 2].answer.remote() for i in range(calls)])
    call = time.perf_counter() - begin
    begin = time.perf_counter()
    for i in range(calls):
        # A name that was found once is not asked for again, so these are names that nobody has.
        with contextlib.suppress(ValueError):
            ray.get_actor(f"somebody/{i}")
    name = time.perf_counter() - begin
    ray.shutdown()
    return {"call_us": round(1e6 * call / calls, 1), "name_us": round(1e6 * name / calls, 1)}


def main() -> None:
    """Simulate, count, and print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("--actors", type=int, nargs="+", default=[16, 64, 256, 1024])
    options.add_argument("--runners", type=int, nargs="+", default=[160, 640, 2560, 10_000])
    options.add_argument("--speed", type=float, default=640.0, help="frames/s of a device")
    options.add_argument("--request", type=int, default=32, help="frames")
    options.add_argument("--seconds", type=float, default=40.0, help="simulated, of each scenario")
    options.add_argument("--restart", type=float, default=20.0, help="seconds of a lost actor")
    args = options.parse_args()
    figures: dict[str, Any] = {"measured": measured(), "scenarios": {}}
    for actors, runners in zip(args.actors, args.runners, strict=True):
        for name, run in scenarios(args, actors, runners).items():
            row = f"{actors} actors, {runners} env runners: {name}"
            figures["scenarios"][row] = run()
            say(f"{row}: {figures['scenarios'][row]}")
    # One run's 64 env runners, on a pool that may grow from 1 to 8 and needs 6 at this load.
    settings = Settings(args.request, 64 * args.request / (4.8 * args.speed), 300.0)
    figures["max_actors"] = simulate([args.speed] * 8, 64, settings, need=Need(1, 8))
    figures["driver"] = driver(args)
    finish("scale_simulation", figures, vars(args), args.out)


if __name__ == "__main__":
    main()
