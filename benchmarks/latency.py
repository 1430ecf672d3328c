"""Latency and frames/s by the number of clients, compared with the CLIP alone.

    python benchmarks/latency.py --model small \\
        --picture docs/benchmarks/latency.png

Each client is a process that sends a request, waits for its scores, and sends
the next one. Latency is the time from the call of submit() to the scores.
Prints one JSON object at the end.
"""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import ray
from report import (
    GPU,
    finish,
    in_turn,
    machine,
    parser,
    reward,
    say,
    shape_of,
    spread,
    start_ray,
)

from rllib_vlm_reward import RewardPool
from rllib_vlm_reward.bench.limit import BareModel
from rllib_vlm_reward.bench.traffic import connect, rate, start_clients, together


def main() -> None:
    """Measure, draw, and print."""
    options = parser(__doc__)
    options.add_argument("--model", default="small")
    options.add_argument("--request", type=int, default=16, help="frames of a request")
    options.add_argument(
        "--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="numbers of clients"
    )
    options.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement")
    options.add_argument("--picture", type=Path, default=None, help="PNG to write")
    args = options.parse_args()
    start_ray()
    config = reward(args)
    pool = RewardPool.start(config, name="latency")
    actor, shape = pool.describe()[0], shape_of(args.model)
    bare = ray.remote(num_cpus=0, num_gpus=GPU)(BareModel).remote(
        config, shape, device=actor["device"]
    )
    searched = ray.get(bare.search.remote(min(1.0, args.seconds / 4)))
    connections = {"pool": connect(pool.name, config)}
    clients = start_clients(max(args.clients), config, connections, args.request, shape)
    together(clients, "request", "pool", 1.0, 1)
    say("the clients are ready")

    def ask(count: int) -> list[Any]:
        return together(clients[:count], "request", "pool", args.seconds, 1)

    sides: dict[str, Any] = {str(count): lambda count=count: ask(count) for count in args.clients}
    sides["bare"] = lambda: ray.get(bare.again.remote(searched, args.seconds))
    measured = in_turn(sides, args.repeats)
    pool.close()
    limit = spread([each.frames_per_second for each in measured.pop("bare")])
    figures = {count: figures_of(repeats) for count, repeats in measured.items()}
    if args.picture is not None:
        draw(args.picture, figures, limit["median"], f"{args.model}, {searched.precision}")
    finish("latency", {"clients": figures, "bare_frames_per_s": limit}, vars(args), args.out)


def figures_of(repeats: list[list[Any]]) -> dict[str, Any]:
    """Return frames/s and quantiles of the latency, each over the repeats."""
    latencies = [
        1000 * np.concatenate([client.latencies for client in repeat]) for repeat in repeats
    ]
    return {
        "frames_per_s": spread([rate(repeat) for repeat in repeats]),
        "p50_ms": spread([float(np.quantile(each, 0.5)) for each in latencies]),
        "p99_ms": spread([float(np.quantile(each, 0.99)) for each in latencies]),
    }


def draw(path: Path, figures: dict[str, Any], limit: float, title: str) -> None:
    """Save both curves as a PNG."""
    counts = list(map(int, figures))
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.axhline(limit, color="grey", ls="--", label="bare CLIP")
    curve(left, counts, [each["frames_per_s"] for each in figures.values()], "pool")
    left.set(ylabel="frames/s", ylim=(0, None))
    for quantile in ("p50_ms", "p99_ms"):
        curve(right, counts, [each[quantile] for each in figures.values()], quantile[:3])
    right.set(ylabel="latency of a request, ms", yscale="log")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, map(str, counts))
        axes.set_xlabel("clients, each with one request under way")
        axes.grid(alpha=0.3)
        axes.legend()
    where = machine()
    device = where["gpu"] or f"{where['cores']} cores of {where['cpu']}"
    figure.suptitle(f"{title}, on {device}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def curve(axes: Any, x: list[int], values: list[dict[str, float]], label: str) -> None:
    """Draw medians, and the range of the repeats."""
    axes.plot(x, [each["median"] for each in values], marker="o", label=label)
    low, high = ([each[end] for each in values] for end in ("lowest", "highest"))
    axes.fill_between(x, low, high, alpha=0.2)


if __name__ == "__main__":
    main()
