"""Frames/s of 2, 4 and 8 reward actors ÷ as many times that of one; and on two nodes.

    python benchmarks/scaling.py

Each actor has a device of its own, emulated: 64 frames take it 100 ms (see emulated.py), so that
two cores can feed eight. Clients keep as many requests under way as the pool's default lets them.
The two nodes are those of ray.cluster_utils.Cluster, with a client on each.
Prints one JSON object last.
"""

import argparse
from collections.abc import Sequence

import ray
from emulated import hook
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from report import finish, in_turn, parser, ratio, reward, say, spread, start_ray

from rllib_vlm_reward import RewardPool
from rllib_vlm_reward.bench.traffic import Client, connect, rate, together

SHAPE = (56, 56)


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__)
    options.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    options.add_argument("--request", type=int, default=64)
    options.add_argument("--device-ms", type=float, default=100.0, help="of one request")
    options.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    args = options.parse_args()
    per_frame = args.device_ms / 1000 / args.request
    start_ray(runtime_env=hook(per_frame))
    found = measure(args, args.actors, [None, None], cpus=0)
    figures = {
        "scaling_efficiency": efficiencies(found),
        "frames_per_s": {str(count): spread(speeds) for count, speeds in found.items()},
        "ideal_frames_per_s_of_one": 1 / per_frame,
    }
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    cluster.add_node(num_cpus=3)
    ray.init(address=cluster.address, runtime_env=hook(per_frame), log_to_driver=False)
    nodes = [
        NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        for node in ray.nodes()
        if node["Alive"]
    ]
    found = measure(args, [1, 2], nodes, cpus=1.5)  # a node holds the pool of one and one of two
    figures["scaling_efficiency_2_nodes"] = efficiencies(found)["2"]
    figures["frames_per_s_2_nodes"] = {str(count): spread(found[count]) for count in found}
    ray.shutdown()
    cluster.shutdown()
    finish("scaling", figures, vars(args), args.out)


def measure(
    args: argparse.Namespace, counts: Sequence[int], nodes: Sequence[object], cpus: float
) -> dict[int, list[float]]:
    """Return the frames/s of pools of so many actors, with one client on each of the nodes."""
    pools, configs = {}, {}
    for count in counts:
        configs[count] = reward(
            args, serving={"num_actors": count, "num_cpus_per_actor": cpus, "num_gpus_per_actor": 0}
        )
        pools[count] = RewardPool.start(configs[count], name=f"of-{count}")
        where = {actor["node"] for actor in pools[count].describe()}
        say(f"{count} actors stand on {len(where)} hosts")
    doors = {str(count): connect(pool.name, configs[count]) for count, pool in pools.items()}
    kind = ray.remote(num_cpus=0)(Client)
    clients = [
        kind.options(scheduling_strategy=node or "DEFAULT").remote(
            configs[counts[0]], doors, args.request, SHAPE, seed
        )
        for seed, node in enumerate(nodes)
    ]

    def speed(count: int, seconds: float = args.seconds) -> float:
        in_flight = configs[count].serving.max_in_flight
        return rate(together(clients, "request", str(count), seconds, in_flight))

    for count in counts:
        speed(count, 1.0)
    sides = {str(count): lambda count=count: speed(count) for count in counts}
    found = in_turn(sides, args.repeats)
    for pool in pools.values():
        pool.close()
    return {int(count): speeds for count, speeds in found.items()}


def efficiencies(found: dict[int, list[float]]) -> dict[str, object]:
    """Return each count's frames/s ÷ as many times that of one actor."""
    return {
        str(count): ratio(speeds, [count * one for one in found[1]])
        for count, speeds in found.items()
        if count > 1
    }


if __name__ == "__main__":
    main()
