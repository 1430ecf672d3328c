"""Does memory grow while two env runners score 200,000 frames?

    python benchmarks/memory.py --picture memory.png

Trains PPO on BabyAI in deferred mode, scored by the `small` CLIP at 56 x 56
pixels. After each iteration, measures the private memory of driver, env runners
and reward actor, the use of the object store, and the shared memory of the
machine, through which frames travel. The measurement starts after 200,000 other
frames, which fill the cache of 16,384 embeddings. Reports the slope of a line
fitted to each curve. Its standard error is computed from the residuals;
neighbouring ones are correlated, so the true error is larger. Prints one JSON
object at the end.
"""

import argparse
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
from processes import growth, private_kib, ray_use
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from report import finish, parser, reward, say, start_ray

from rllib_vlm_reward import GoalConditionedModule, RewardPool, VLMRewardConfig, add_vlm_reward

STORE = 300_000_000


def main() -> None:
    """Train, measure, and print."""
    options = parser(__doc__, repeats=None)
    options.add_argument("--frames", type=int, default=200_000, help="frames to measure")
    options.add_argument("--warm", type=int, default=200_000, help="frames before the measurement")
    options.add_argument("--picture", type=Path, help="PNG to write, with the memory over frames")
    options.add_argument("--runners", type=int, default=2, help="env runners")
    options.add_argument("--envs", type=int, default=32, help="sub-envs of an env runner")
    options.add_argument("--steps", type=int, default=2048, help="env steps of an iteration")
    args = options.parse_args()
    start_ray(object_store_memory=STORE)
    algorithm, vlm = build(args)
    processes = pids(vlm)
    runners = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid())
    processes |= {f"runner_{i}": pid for i, pid in enumerate(runners) if pid != processes["driver"]}
    samples: list[dict[str, float]] = []
    frames, begin = 0, time.perf_counter()
    while frames < args.warm + args.frames:
        algorithm.train()
        frames += args.steps
        samples.append({"frames": frames, **look(processes)})
        if len(samples) % 10 == 0:
            say(f"{frames} frames, {time.perf_counter() - begin:.0f} s: {samples[-1]}")
    stats = RewardPool.connect("memory", vlm).stats()[0]
    algorithm.stop()
    warm = [sample for sample in samples if sample["frames"] > args.warm]
    steps = [sample["frames"] for sample in warm]
    figures = {
        name: growth(steps, [sample[name] for sample in warm])
        for name in samples[0]
        if name != "frames"
    }
    figures |= {"scored_by_the_actor": stats["frames"], "course": samples[::10]}
    if args.picture is not None:
        draw(args.picture, samples, args.warm)
    finish("memory", figures, vars(args) | {"object_store_bytes": STORE}, args.out)


def build(args: argparse.Namespace) -> tuple[Algorithm, VLMRewardConfig]:
    """Build PPO with the reward."""
    vlm = reward(
        args,
        goals=["pick up the {red|green|blue|purple|yellow|grey} {ball|box|key}"],
        goal_embedding=True,
        frames={"source": "obs"},
        serving={"pool_name": "memory"},
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
    """Return the process ids of driver and actor."""
    (actor,) = RewardPool.connect("memory", vlm).describe()
    return {"driver": os.getpid(), "actor": actor["pid"]}


def look(processes: dict[str, int]) -> dict[str, float]:
    """Return the current memory of each process and of the machine, in MiB."""
    held = {f"{name}_mib": private_kib(pid) / 1024 for name, pid in processes.items()}
    lines = Path("/proc/meminfo").read_text().splitlines()
    shared = next(line for line in lines if line.startswith("Shmem:"))
    store, _ = ray_use()
    return {**held, "machine_shared_mib": int(shared.split()[1]) / 1024, **store}


def draw(path: Path, samples: list[dict[str, float]], warm: int) -> None:
    """Save the memory of each process, over all frames, as a PNG."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    frames = [sample["frames"] for sample in samples]
    for name in samples[0]:
        if name.endswith("_mib"):
            label = name.removesuffix("_mib").replace("_", " ")
            axes.plot(frames, [sample[name] for sample in samples], label=label)
    axes.axvline(warm, color="grey", ls="--", label="warm")
    axes.set(xlabel="frames scored", ylabel="private memory, MiB", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc=(0.02, 0.22), ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
