"""How fast is the pool, compared with the CLIP alone and with Ray Serve?

    python benchmarks/served.py --model small --request 16

Two client processes send new frames as env runners do: B episodes step, the
connector piece collects their frames, and a fragment ends every `--steps`.
"bare" is the same model alone in one process, with the best batch size, lanes
and threads. Ray Serve and a plain actor get requests from the same clients
through the same connector piece. They need `pip install "ray[serve]"`;
`--no-peers` leaves them out. Prints one JSON object at the end.
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

from rllib_vlm_reward import RewardPool, VLMRewardConfig
from rllib_vlm_reward.bench.limit import BareModel
from rllib_vlm_reward.bench.traffic import connect, rate, start_clients, together

IN_FLIGHT = 32  # the default of serving.max_in_flight, used for the peers too
GRID = [(size, wait, thread) for size in (4, 16) for wait in (0.0, 0.005) for thread in (0, 1)]


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--model", default="small")
    options.add_argument("--request", type=int, default=16, help="frames of a request")
    options.add_argument("--clients", type=int, default=2, help="client processes")
    options.add_argument("--seconds", type=float, default=4.0, help="duration of each measurement")
    options.add_argument("--steps", type=int, default=64, help="steps of a fragment")
    options.add_argument(
        "--no-peers", action="store_true", help="without Ray Serve and plain actor"
    )
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
    """Compare the pool with the bare model."""
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
    measured = in_turn(
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
        **beside_bare(measured),
        "bare_ways": [dataclasses.asdict(way) for way in searched.ways],
        "client_cpu_us_per_frame": 1e6
        * sum(each.cpu_seconds for each in costs)
        / sum(each.frames for each in costs),
        "precision": searched.precision,
        "actor": actor,
        "batch_mean": stats["batch_mean"],
    }


def beside_bare(measured: Sides) -> dict[str, Any]:
    """Return the ratios, and the frames/s that they compare."""
    sides = {
        "bare": [each.frames_per_second for each in measured["bare"]],
        "forward_alone": [each.forward_per_second for each in measured["bare"]],
        "connector": measured["connector"],
        "pool": measured["pool"],
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
    """Compare the pool with Ray Serve at its best settings, and with a plain actor."""
    from peers import (
        PlainActor,
        plain_connection,
        serve_connection,
        start_serve,
    )  # these need Ray Serve
    from ray import serve

    pool, scorer = RewardPool.start(config, name="peers"), config.scorer
    actor = pool.describe()[0]
    model = (config.encoder, precision, actor["device"], scorer)
    plain = ray.remote(num_cpus=0, num_gpus=GPU)(PlainActor).remote(*model)
    handle = start_serve(*model)
    connections = {
        "pool": connect(pool.name, config),
        "serve": serve_connection,
        "plain": plain_connection(plain),
    }
    clients = start_clients(args.clients, config, connections, args.request, shape_of(args.model))

    def drive(connection: str, seconds: float = args.seconds) -> float:
        return rate(together(clients, "drive", connection, seconds, args.steps))

    for connection in connections:
        drive(connection, 1.0)
    tuned = {}
    for setting in GRID:
        handle.tune.remote(*setting).result()
        tuned[setting] = drive("serve", args.seconds / 2)
        say(f"serve {setting}: {tuned[setting]:.4g} frames/s")
    best = max(tuned, key=lambda setting: tuned[setting])
    handle.tune.remote(*best).result()
    measured = in_turn(
        {connection: lambda connection=connection: drive(connection) for connection in connections},
        args.repeats,
    )
    serve.shutdown()
    pool.close()
    return {
        "over_ray_serve": ratio(measured["pool"], measured["serve"]),
        "over_plain_actor": ratio(measured["pool"], measured["plain"]),
        "peers_frames_per_s": {
            connection: spread(values) for connection, values in measured.items()
        },
        "serve_best": dict(
            zip(("max_batch_size", "batch_wait_timeout_s", "own_thread"), best, strict=True)
        ),
        "serve_grid": {str(setting): round(speed, 1) for setting, speed in tuned.items()},
    }


if __name__ == "__main__":
    main()
