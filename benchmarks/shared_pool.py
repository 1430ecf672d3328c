"""Is one pool for four trials as fast as a pool for one? How much memory is saved?

    python benchmarks/shared_pool.py
    python benchmarks/shared_pool.py --model ViT-B-32 --seconds 30 --steps 16

A trial is a client process with a separate handle to the pool, which works as
in served.py. Each pool has one actor; all have the same batch size.
`shared_over_single` is the frames/s of all trials together on one pool ÷ those
of one trial with its own pool. That trial has one client or as many client
processes as there are trials, whichever is faster; both ratios are reported. In
`own_goals_over_single`, each trial has other goals, so that requests of
different trials do not join.

Memory is that of the reward actors' processes, measured once, after each has
scored: RSS, and PSS, which divides pages among the processes that map them.
`undisturbed` is the frames/s of the other trials after one of them was killed
with unanswered requests ÷ before. Since that trial took its share before, the
frames/s are also divided by those without it. Prints one JSON object at the
end.
"""

import argparse
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import RayActorError
from report import (
    GPU,
    Sides,
    finish,
    in_turn,
    parser,
    ratio,
    reward,
    say,
    shape_of,
    spread,
    start_ray,
)

from rllib_vlm_reward import PoolError, RewardPool, VLMRewardConfig
from rllib_vlm_reward.bench.traffic import Client, Driven, StandInEnv, connect, rate, together
from rllib_vlm_reward.serving.router import fetch

SHARED, SINGLE = "shared", "single"
SETTLES_S = 0.5
OWN_GOALS = ["a red ball", "a blue key", "a green box", "a grey door"]


class Answers(NamedTuple):
    """The arrival times of scores, by time.monotonic(), and the number of failed requests."""

    times: list[float]
    failed: int

    def between(self, begin: float, end: float) -> int:
        """Count the scored requests."""
        return sum(begin <= it < end for it in self.times)


class Trial(Client):
    """The env runner of a trial."""

    def ready(self) -> None:
        """Return when this process can work."""

    def pursue(self, goal: str) -> None:
        """Use another goal from now on."""
        self._config = self._config.model_copy(update={"goals": (goal,)})
        self._scorer = self._config.scorer

    def ask(self, connection: str, seconds: float) -> Answers:
        """Send requests for ``seconds``, with as many unanswered ones as the pool allows."""
        pool, goals = self._connections[connection], np.zeros(self._env.num_envs, np.int64)
        end, waiting = time.monotonic() + seconds, deque[Any]()
        times, failed = [], 0
        while (asks := time.monotonic() < end) or waiting:
            try:
                if asks:
                    waiting.append(pool.submit(self._env.render(), goals, self._scorer))
                if not asks or len(waiting) >= self._config.serving.max_in_flight:
                    waiting.popleft().result()
                    times.append(time.monotonic())
            except PoolError:
                failed += 1
        return Answers(times, failed)


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--model", default="small")
    options.add_argument(
        "--trials",
        type=int,
        default=4,
        choices=range(2, len(OWN_GOALS) + 1),
        help="number of trials",
    )
    options.add_argument("--request", type=int, default=16, help="frames of a request")
    options.add_argument("--seconds", type=float, default=4.0, help="duration of each measurement")
    options.add_argument("--steps", type=int, default=64, help="steps of a fragment")
    args = options.parse_args()
    start_ray()
    config = reward(args)
    figures = {"memory": memory(args, config), **together_and_alone(args, config)}
    settings = vars(args) | {
        "max_in_flight": config.serving.max_in_flight,
        "gpus_of_an_actor": GPU,
        "config": config.model_dump(mode="json", exclude_defaults=True),
    }
    finish("shared_pool", figures, settings, args.out)


def memory(args: argparse.Namespace, config: VLMRewardConfig) -> dict[str, Any]:
    """Return the memory of the reward actors, for one pool and for a pool of each trial."""
    one, each = (held(args, config, pools) for pools in (1, args.trials))
    return {
        "one_pool": one,
        "a_pool_each": each,
        "rss_of_one_over_each": one["rss_mib"] / each["rss_mib"],
        **({"pss_of_one_over_each": one["pss_mib"] / each["pss_mib"]} if "pss_mib" in one else {}),
    }


def held(args: argparse.Namespace, config: VLMRewardConfig, count: int) -> dict[str, Any]:
    """Return the MiB of the actors of ``count`` pools, after each scored as many frames."""
    scorer, goals = config.scorer, np.zeros(args.request, np.int64)
    env = StandInEnv(args.request, shape_of(args.model), seed=0)
    pools = [RewardPool.start(config, name=f"of-{count}-{i}") for i in range(count)]
    for pool in pools:
        under_way = [
            pool.submit(env.render(), goals, scorer) for _ in range(config.serving.max_in_flight)
        ]
        for answer in under_way:
            answer.result()
    pids = [actor["pid"] for pool in pools for actor in pool.describe()]
    sizes = [sizes_of(pid) for pid in pids]
    for pool in pools:
        pool.close()
    for pid in pids:
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.1)
    say(f"{count} pools, MiB: {sizes}")
    return {
        "actors": len(sizes),
        **{kind: round(sum(size[kind] for size in sizes), 1) for kind in sizes[0]},
    }


def sizes_of(pid: int) -> dict[str, float]:
    """Return a process's RSS in MiB, and its PSS where Linux reports it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        lines = rollup.read_text().splitlines()
    else:
        lines = Path(f"/proc/{pid}/status").read_text().replace("VmRSS", "Rss").splitlines()
    kib = {line.split()[0]: line.split()[1] for line in lines if line.startswith(("Rss:", "Pss:"))}
    return {f"{kind[:-1].lower()}_mib": int(size) / 1024 for kind, size in kib.items()}


def together_and_alone(args: argparse.Namespace, config: VLMRewardConfig) -> dict[str, Any]:
    """Compare trials on one pool with a trial that has its own, then kill a trial."""
    pools = [RewardPool.start(config, name=SHARED)]
    # Each pool chooses a batch size by timing, so two pools may choose different ones.
    size = pools[0].describe()[0]["batch_size"]
    same = config.model_copy(update={"serving": {"max_batch_size": size}})
    pools.append(RewardPool.start(same, name=SINGLE))
    trials = [start_trial(args, config, seed) for seed in range(args.trials)]
    fetch([trial.ready.remote() for trial in trials])
    figures = throughput(args, trials)
    figures["actor"] = pools[0].describe()[0]
    figures["batch_mean"] = pools[0].stats()[0]["batch_mean"]
    figures |= killing(args, config, trials)
    figures["reported_failures"] = [text for pool in pools for text in pool.failures()]
    for pool in pools:
        pool.close()
    return figures


def start_trial(args: argparse.Namespace, config: VLMRewardConfig, seed: int) -> Any:
    """Start a trial's process, with a handle to each pool."""
    connections = {name: connect(name, config) for name in (SHARED, SINGLE)}
    kind = ray.remote(num_cpus=0)(Trial)
    return kind.remote(config, connections, args.request, shape_of(args.model), seed)


def throughput(args: argparse.Namespace, trials: list[Any]) -> dict[str, Any]:
    """Measure the frames/s of trials on one pool, and of one trial with its own pool."""

    def drive(connection: str, clients: list[Any], seconds: float = args.seconds) -> list[Driven]:
        return together(clients, "drive", connection, seconds, args.steps)

    def own_goals() -> list[Driven]:
        pursue(trials, OWN_GOALS)
        driven = drive(SHARED, trials)
        pursue(trials, OWN_GOALS[:1] * len(trials))
        return driven

    for connection in (SHARED, SINGLE):
        drive(connection, trials, 1.0)
    own_goals()
    many = f"single_{len(trials)}_clients"
    measured = in_turn(
        {
            "single_1_client": lambda: drive(SINGLE, trials[:1]),
            many: lambda: drive(SINGLE, trials),
            "shared": lambda: drive(SHARED, trials),
            "shared_own_goals": own_goals,
        },
        args.repeats,
    )
    speeds = {name: [rate(driven) for driven in repeats] for name, repeats in measured.items()}
    best = max("single_1_client", many, key=lambda name: median(speeds[name]))
    return {
        "shared_over_single": ratio(speeds["shared"], speeds[best]),
        "single_is": best,
        "shared_over_single_1_client": ratio(speeds["shared"], speeds["single_1_client"]),
        f"shared_over_{many}": ratio(speeds["shared"], speeds[many]),
        "own_goals_over_single": ratio(speeds["shared_own_goals"], speeds[best]),
        "frames_per_s": {name: spread(values) for name, values in speeds.items()},
        "slowest_over_mean_trial": {
            name: spread([evenness(driven) for driven in measured[name]])
            for name in ("shared", "shared_own_goals")
        },
    }


def pursue(trials: list[Any], goals: Sequence[str]) -> None:
    """Set the goal of each trial."""
    fetch([trial.pursue.remote(goal) for trial, goal in zip(trials, goals, strict=False)])


def evenness(driven: Sequence[Driven]) -> float:
    """Return the slowest trial's frames/s ÷ the trials' mean."""
    speeds = [each.frames / each.seconds for each in driven]
    return min(speeds) / float(np.mean(speeds))


def killing(args: argparse.Namespace, config: VLMRewardConfig, trials: list[Any]) -> dict[str, Any]:
    """Kill a trial with unanswered requests, and measure the others before and after."""
    *others, victim = trials
    measured: Sides = {"without": [], "before": [], "after": []}
    failed = 0
    for repeat in range(args.repeats):
        if repeat:
            victim = start_trial(args, config, args.trials + repeat)
            fetch(victim.ready.remote())
        pending = [trial.ask.remote(SHARED, 3 * args.seconds + 4 * SETTLES_S) for trial in others]
        begins = {"without": pause(SETTLES_S)}
        pause(args.seconds)
        lost = victim.ask.remote(SHARED, 10 * args.seconds + 60)
        begins["before"] = pause(SETTLES_S)
        begins["after"] = pause(args.seconds)
        ray.kill(victim)
        check_killed(lost)
        answers = fetch(pending)
        failed += sum(each.failed for each in answers)
        for name, begin in begins.items():
            measured[name].append(
                args.request
                * sum(each.between(begin, begin + args.seconds) for each in answers)
                / args.seconds
            )
        latest = {name: round(speeds[-1]) for name, speeds in measured.items()}
        say(f"{repeat + 1}/{args.repeats} {latest}")
    return {
        "undisturbed": ratio(measured["after"], measured["before"]),
        "undisturbed_over_without": ratio(measured["after"], measured["without"]),
        "failed_requests": failed,
        "others_frames_per_s": {name: spread(speeds) for name, speeds in measured.items()},
    }


def pause(seconds: float) -> float:
    """Sleep, and return the time afterwards."""
    time.sleep(seconds)
    return time.monotonic()


def check_killed(lost: Any) -> None:
    """Raise an error unless the trial died before it had all its answers."""
    try:
        fetch(lost)
    except RayActorError:
        return
    raise RuntimeError("the trial had all its answers before it was killed")


if __name__ == "__main__":
    main()
