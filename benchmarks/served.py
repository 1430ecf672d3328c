"""What the pool gives ÷ what the bare CLIP gives, and ÷ what Ray Serve gives.

    python benchmarks/served.py --model small --request 16

Two client processes send frames that were never seen before. They go the connector's way: B
episodes step, the piece collects their frames, a fragment ends every `--steps`. Bare is the same
model in one process: the best of batch sizes and of lanes x threads. Ray Serve and a plain actor
get their requests from the same clients through the same connector piece; only what it sends
through differs. They need `pip install "ray[serve]"`; `--no-peers` leaves them out. Prints one
JSON object last.
"""

import argparse
import dataclasses
from typing import Any

import ray
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

from rllib_vlm_reward import RewardPool, Scorer, VLMRewardConfig
from rllib_vlm_reward.bench.limit import BareModel
from rllib_vlm_reward.bench.traffic import connect, rate, start_clients, together

IN_FLIGHT = 32  # VLMRewardConfig's own max_in_flight, and the peers'
GRID = [(size, wait, thread) for size in (4, 16) for wait in (0.0, 0.005) for thread in (0, 1)]


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--model", default="small")
    options.add_argument("--request", type=int, default=16)
    options.add_argument("--clients", type=int, default=2)
    options.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    options.add_argument("--steps", type=int, default=64, help="of a fragment")
    options.add_argument("--no-peers", action="store_true")
    args = options.parse_args()
    start_ray()
    config = reward(args)
    figures = against_bare(args, config)
    if not args.no_peers:
        figures |= against_peers(args, config, figures["precision"])
    settings = vars(args) | {
        "in_flight": IN_FLIGHT,
        "config": config.model_dump(mode="json", exclude_defaults=True),
    }
    finish("served", figures, settings, args.out)


def against_bare(args: argparse.Namespace, config: VLMRewardConfig) -> dict[str, Any]:
    """Measure the pool beside the bare model."""
    pool = RewardPool.start(config, name="served")
    actor, shape, seconds = pool.describe()[0], shape_of(args.model), args.seconds
    bare = ray.remote(num_cpus=0, num_gpus=GPU)(BareModel).remote(
        config, shape, device=actor["device"]
    )
    searched = ray.get(bare.search.remote(min(1.0, args.seconds / 4)))
    say(f"bare: {searched.best}")
    clients = start_clients(
        args.clients, config, {"pool": connect(pool.name, config)}, args.request, shape
    )
    together(clients, "drive", "pool", 1.0, args.steps)
    found = in_turn(
        {
            "bare": lambda: ray.get(bare.again.remote(searched, seconds)),
            "connector": lambda: rate(together(clients, "drive", "pool", seconds, args.steps)),
            "pool": lambda: rate(together(clients, "request", "pool", seconds, IN_FLIGHT)),
        },
        args.repeats,
    )
    costs = together(clients, "drive", "pool", seconds, args.steps)
    stats = pool.stats()[0]
    pool.close()
    for process in (*clients, bare):
        ray.kill(process)
    return {
        **beside_bare(found),
        "bare_ways": [dataclasses.asdict(way) for way in searched.ways],
        "client_cpu_us_per_frame": 1e6
        * sum(each.cpu_seconds for each in costs)
        / sum(each.frames for each in costs),
        "precision": searched.precision,
        "actor": actor,
        "batch_mean": stats["batch_mean"],
    }


def beside_bare(found: Sides) -> dict[str, Any]:
    """Return the ratios, and what they are of."""
    sides = {
        "bare": [each.frames_per_second for each in found["bare"]],
        "forward_alone": [each.forward_per_second for each in found["bare"]],
        "connector": found["connector"],
        "pool": found["pool"],
    }
    return {
        "served_over_bare": ratio(sides["connector"], sides["bare"]),
        "pool_over_bare": ratio(sides["pool"], sides["bare"]),
        "served_over_forward_alone": ratio(sides["connector"], sides["forward_alone"]),
        "frames_per_s": {name: spread(speeds) for name, speeds in sides.items()},
    }


def against_peers(
    args: argparse.Namespace, config: VLMRewardConfig, precision: str
) -> dict[str, Any]:
    """Measure the pool beside Ray Serve at its best settings, and beside a plain actor."""
    from peers import PlainActor, plain_door, serve_door, start_serve  # which need Ray Serve
    from ray import serve

    pool, scorer = RewardPool.start(config, name="peers"), Scorer.from_config(config)
    actor = pool.describe()[0]
    model = (config.encoder, precision, actor["device"], scorer)
    plain = ray.remote(num_cpus=0, num_gpus=GPU)(PlainActor).remote(*model)
    handle = start_serve(*model)
    doors = {"pool": connect(pool.name, config), "serve": serve_door, "plain": plain_door(plain)}
    clients = start_clients(args.clients, config, doors, args.request, shape_of(args.model))

    def drive(door: str, seconds: float = args.seconds) -> float:
        return rate(together(clients, "drive", door, seconds, args.steps))

    for door in doors:
        drive(door, 1.0)
    tuned = {}
    for setting in GRID:
        handle.tune.remote(*setting).result()
        tuned[setting] = drive("serve", args.seconds / 2)
        say(f"serve {setting}: {tuned[setting]:.4g} frames/s")
    best = max(tuned, key=lambda setting: tuned[setting])
    handle.tune.remote(*best).result()
    found = in_turn({door: lambda door=door: drive(door) for door in doors}, args.repeats)
    serve.shutdown()
    pool.close()
    return {
        "over_ray_serve": ratio(found["pool"], found["serve"]),
        "over_plain_actor": ratio(found["pool"], found["plain"]),
        "peers_frames_per_s": {door: spread(values) for door, values in found.items()},
        "serve_best": dict(
            zip(("max_batch_size", "batch_wait_timeout_s", "own_thread"), best, strict=True)
        ),
        "serve_grid": {str(setting): round(speed, 1) for setting, speed in tuned.items()},
    }


if __name__ == "__main__":
    main()
