"""Do 2, 4 and 8 reward actors give 2, 4 and 8 times the frames/s of one?

    python benchmarks/scaling.py

Each actor has an emulated device, which takes 100 ms for 64 frames (see
emulated.py), so that two cores can feed eight actors. Clients keep as many
unanswered requests as the pool allows by default. The script also measures two
nodes, made by ray.cluster_utils.Cluster, with a client on each. Prints one JSON
object at the end.
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
    options.add_argument(
        "--actors", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of actors"
    )
    options.add_argument("--request", type=int, default=64, help="frames of a request")
    options.add_argument(
        "--device-ms", type=float, default=100.0, help="time of the device for a request"
    )
    options.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    args = options.parse_args()
    per_frame = args.device_ms / 1000 / args.request
    start_ray(runtime_env=hook(per_frame))
    measured = measure(args, args.actors, [None, None], cpus=0)
    figures = {
        "scaling_efficiency": efficiencies(measured),
        "frames_per_s": {str(count): spread(speeds) for count, speeds in measured.items()},
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
    measured = measure(
        args, [1, 2], nodes, cpus=1.5
    )  # a node has room for two actors, of both pools
    figures["scaling_efficiency_2_nodes"] = efficiencies(measured)["2"]
    figures["frames_per_s_2_nodes"] = {str(count): spread(measured[count]) for count in measured}
    ray.shutdown()
    cluster.shutdown()
    finish("scaling", figures, vars(args), args.out)


def measure(
    args: argparse.Namespace, counts: Sequence[int], nodes: Sequence[object], cpus: float
) -> dict[int, list[float]]:
    """Return the frames/s of pools with these numbers of actors, with one client on each node."""
    pools, configs = {}, {}
    for count in counts:
        configs[count] = reward(
            args, serving={"num_actors": count, "num_cpus_per_actor": cpus, "num_gpus_per_actor": 0}
        )
        pools[count] = RewardPool.start(configs[count], name=f"of-{count}")
        where = {actor["node"] for actor in pools[count].describe()}
        say(f"{count} actors are on {len(where)} hosts")
    connections = {str(count): connect(pool.name, configs[count]) for count, pool in pools.items()}
    kind = ray.remote(num_cpus=0)(Client)
    clients = [
        kind.options(scheduling_strategy=node or "DEFAULT").remote(
            configs[counts[0]], connections, args.request, SHAPE, seed
        )
        for seed, node in enumerate(nodes)
    ]

    def speed(count: int, seconds: float = args.seconds) -> float:
        in_flight = configs[count].serving.max_in_flight
        return rate(together(clients, "request", str(count), seconds, in_flight))

    for count in counts:
        speed(count, 1.0)
    sides = {str(count): lambda count=count: speed(count) for count in counts}
    measured = in_turn(sides, args.repeats)
    for pool in pools.values():
        pool.close()
    return {int(count): speeds for count, speeds in measured.items()}


def efficiencies(measured: dict[int, list[float]]) -> dict[str, object]:
    """Return frames/s ÷ (number of actors × frames/s of one actor), by number of actors."""
    return {
        str(count): ratio(speeds, [count * one for one in measured[1]])
        for count, speeds in measured.items()
        if count > 1
    }


if __name__ == "__main__":
    main()
