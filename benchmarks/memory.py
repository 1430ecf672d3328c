"""Memory over 200,000 frames that two env runners have scored.

    python benchmarks/memory.py

PPO on BabyAI in deferred mode, scored by the `small` CLIP at 56 x 56 pixels. After each iteration:
the private memory of driver, env runners and reward actor, what the object store holds, and the
machine's shared memory in all, where frames travel. The slope is that of a line through all but
the first 30 %; its standard error is that of the residuals, of which neighbours are alike, so the
true one is larger. Prints one JSON object last.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import ray
from ray._private.internal_api import node_stats
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from relabel import own
from report import finish, parser, reward, say, start_ray

from rllib_vlm_reward import GoalConditionedModule, RewardPool, VLMRewardConfig, add_vlm_reward

STORE = 300_000_000


def main() -> None:
    """Train, watch, and print."""
    options = parser(__doc__, repeats=None)
    options.add_argument("--frames", type=int, default=200_000)
    options.add_argument("--runners", type=int, default=2)
    options.add_argument("--envs", type=int, default=32)
    options.add_argument("--steps", type=int, default=2048, help="of an iteration")
    args = options.parse_args()
    start_ray(object_store_memory=STORE)
    algorithm, vlm = build(args)
    processes = pids(vlm)
    runners = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid())
    processes |= {f"runner_{i}": pid for i, pid in enumerate(runners) if pid != processes["driver"]}
    samples: list[dict[str, float]] = []
    frames, begin = 0, time.perf_counter()
    while frames < args.frames:
        algorithm.train()
        frames += args.steps
        samples.append({"frames": frames, **look(processes)})
        if len(samples) % 10 == 0:
            say(f"{frames} frames, {time.perf_counter() - begin:.0f} s: {samples[-1]}")
    stats = RewardPool.connect("memory", vlm).stats()[0]
    algorithm.stop()
    figures = {name: line(samples, name) for name in samples[0] if name != "frames"}
    figures["scored_by_the_actor"] = stats["frames"]
    finish("memory", figures, vars(args) | {"object_store_bytes": STORE}, args.out)


def build(args: argparse.Namespace) -> tuple[Algorithm, VLMRewardConfig]:
    """Build the PPO with its reward."""
    vlm = reward(
        args,
        goals=["pick up the {red|green|blue|purple|yellow|grey} {ball|box|key}"],
        frame_source="obs",
        goal_embedding=True,
        pool_name="memory",
    )
    config = (
        PPOConfig()
        .environment("rllib_vlm_reward/Lift-v0")
        .env_runners(num_env_runners=args.runners, num_envs_per_env_runner=args.envs)
        .training(train_batch_size_per_learner=args.steps, minibatch_size=512, num_epochs=1)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=GoalConditionedModule))
    )
    return add_vlm_reward(config, vlm).build_algo(), vlm


def pids(vlm: VLMRewardConfig) -> dict[str, int]:
    """Return the process of the driver and of the actor."""
    (actor,) = RewardPool.connect("memory", vlm).describe()
    return {"driver": os.getpid(), "actor": actor["pid"]}


def look(processes: dict[str, int]) -> dict[str, float]:
    """Return what each holds now, in MiB."""
    held = {f"{name}_mib": own(pid) / 1024 for name, pid in processes.items()}
    lines = Path("/proc/meminfo").read_text().splitlines()
    shared = next(line for line in lines if line.startswith("Shmem:"))
    return {**held, "machine_shared_mib": int(shared.split()[1]) / 1024, **store_use()}


def store_use() -> dict[str, float]:
    """Return MiB and objects in Ray's object store, as its raylet counts them (Ray 2.60)."""
    (node,) = ray.nodes()
    address = node["NodeManagerAddress"], node["NodeManagerPort"]
    store = node_stats(*address, include_memory_info=False).store_stats
    return {
        "store_mib": store.object_store_bytes_used / 2**20,
        "store_objects": store.num_local_objects,
    }


def line(samples: list[dict[str, float]], name: str) -> dict[str, float]:
    """Return first, last, highest, and the slope once warm."""
    values = np.array([sample[name] for sample in samples])
    warm = samples[3 * len(samples) // 10 :]
    x = np.array([sample["frames"] for sample in warm]) / 100_000
    y = np.array([sample[name] for sample in warm])
    (slope, offset), error = np.polyfit(x, y, 1), float("nan")
    if len(x) > 2:
        residual = y - slope * x - offset
        error = float(np.sqrt(residual @ residual / (len(x) - 2) / ((x - x.mean()) ** 2).sum()))
    return {
        "first": round(float(values[0]), 1),
        "last": round(float(values[-1]), 1),
        "highest": round(float(values.max()), 1),
        "slope_per_100k_frames": round(float(slope), 2),
        "slope_standard_error": round(error, 2),
    }


if __name__ == "__main__":
    main()
