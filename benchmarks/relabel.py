"""Are relabelled rewards the same as online ones, even after a kill?

    python benchmarks/relabel.py --steps 50000

Records Lift episodes of a random policy, rewarded online by the `small` CLIP in
synchronous mode. Relabels them with the same reward by `rllib-vlm-reward
relabel`, which is killed half-way and started again. Compares the rewards,
counts lost and doubled episodes, and measures memory. Prints one JSON object at
the end.
"""

import argparse
import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgpack
import msgpack_numpy
import numpy as np
import pyarrow.parquet
import ray
from processes import private_kib, tree
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner
from report import finish

from rllib_vlm_reward import GoalConditionedModule, RewardPool, VLMRewardConfig, add_vlm_reward
from rllib_vlm_reward.connectors.pipeline import attach_pieces

VLM = VLMRewardConfig(
    encoder="small",
    goals=["pick up the {red|green|blue|purple|yellow|grey} {ball|box|key}"],
    templates=[
        {
            "goal": "pick up {}",
            "prompt": "the agent is carrying {}",
            "nothing": "the agent is carrying nothing",
        }
    ],
    head="cosine",
    goal_embedding=True,
    mode="synchronous",
    frames={"source": "obs"},
    serving={"num_cpus_per_actor": 1, "precision": "fp32"},
)
ENV = {"room_size": 5, "num_objects": 3, "max_steps": 30}
TOLERANCE = 1e-5  # rounding of float32 depends on the batch


class WrittenOnce(RLlibCallback):
    """Empties the recorder's buffer, since RLlib 2.60 would write its episodes again."""

    def on_sample_end(self, *, env_runner: OfflineSingleAgentEnvRunner, **kwargs: object) -> None:
        """Empty the buffer before RLlib adds the fragment."""
        env_runner._samples.clear()


def record(folder: Path, steps: int) -> int:
    """Record at least ``steps`` steps; return their number."""
    config = (
        PPOConfig()
        .environment("rllib_vlm_reward/Lift-v0", env_config=ENV)
        .env_runners(num_envs_per_env_runner=32, batch_mode="complete_episodes")
        .callbacks(callbacks_class=WrittenOnce)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=GoalConditionedModule))
        .offline_data(output=str(folder), output_write_episodes=True)
    )
    add_vlm_reward(config, VLM)
    pool = RewardPool.start(VLM, name="benchmark")
    runner = OfflineSingleAgentEnvRunner(config=config)
    attach_pieces(runner, pool.name, "benchmark")
    taken = 0
    while taken < steps:
        episodes = runner.sample(num_episodes=64, random_actions=True)
        taken += sum(len(episode) for episode in episodes)
        print(f"recorded {taken} steps", file=sys.stderr, flush=True)
    pool.close()
    return taken


def rewards(folder: Path) -> tuple[dict[str, np.ndarray], Counter]:
    """Return the rewards of each episode, and how often each episode occurs."""
    found, times = {}, Counter()
    for path in sorted(folder.rglob("*.parquet")):
        for row in pyarrow.parquet.read_table(path)["item"].to_pylist():
            state = msgpack.unpackb(row, object_hook=msgpack_numpy.decode)
            times[state["id_"]] += 1
            found[state["id_"]] = np.array(state["rewards"]["data"], np.float32)
    return found, times


def relabel(recorded: Path, out: Path, config: Path, stop_at: int | None) -> dict[str, object]:
    """Run the command, kill it after ``stop_at`` units, and record memory and progress."""
    script = "from rllib_vlm_reward.cli import main; main()"
    command = [sys.executable, "-c", script, "relabel", recorded, out, "--config", config]
    before, begin = count(out), time.perf_counter()
    run = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    first, samples = None, []
    while run.poll() is None:
        time.sleep(0.25)
        finished = count(out)
        driver, actors = memory(run.pid)
        if finished > before and actors:
            first = first or (time.perf_counter(), finished)
            samples.append((finished, driver, actors))
            last = time.perf_counter()
        if stop_at is not None and finished >= stop_at:
            run.send_signal(signal.SIGKILL)
            run.wait()
    end = time.perf_counter()
    if stop_at is None and run.returncode:
        raise SystemExit(f"relabel failed with {run.returncode}")
    figures = {"units": count(out) - before, "wall_s": round(end - begin, 1)}
    if first is None:
        return figures
    warm = np.array(samples[len(samples) // 5 :], float)  # buffers are allocated in the first fifth
    per_unit = (samples[-1][0] - first[1]) / max(last - first[0], 1e-9)
    figures |= {"units_per_s_once_started": round(per_unit, 1)}
    for column, name in ((1, "driver"), (2, "actors")):
        mib = warm[:, column] / 1024
        slope = np.polyfit(warm[:, 0], mib, 1)[0] if len(set(warm[:, 0])) > 1 else 0.0
        figures[f"{name}_own_mib"] = {
            "first": round(mib[0], 1),
            "last": round(mib[-1], 1),
            "max": round(mib.max(), 1),
            "slope_per_1000_units": round(1000 * slope, 2),
        }
    return figures


def count(out: Path) -> int:
    """Return the number of finished units."""
    return sum(1 for _ in out.rglob("*.parquet"))


def memory(pid: int) -> tuple[int, int]:
    """Return the private KiB of a process, and of the relabelling actors below it."""
    actors = [each for each, title in tree(pid).items() if "Relabeller" in title]
    return private_kib(pid), sum(map(private_kib, actors))


def main() -> None:
    """Record, relabel, kill, resume, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000, help="steps to record")
    steps = parser.parse_args().steps
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        recorded, out, config = Path(folder, "in"), Path(folder, "out"), Path(folder, "c.yaml")
        config.write_text(VLM.to_yaml())
        ray.init(
            address="local",
            include_dashboard=False,
            num_cpus=8,
            object_store_memory=200_000_000,
            log_to_driver=False,
        )
        begin = time.perf_counter()
        taken = record(recorded, steps)
        record_s = time.perf_counter() - begin
        ray.shutdown()
        units = count(recorded)
        killed = relabel(recorded, out, config, stop_at=units // 2)
        finished_before = count(out)
        resumed = relabel(recorded, out, config, stop_at=None)
        (online, _), (offline, times) = rewards(recorded), rewards(out)
    both = online.keys() & offline.keys()
    differences = [np.abs(online[i] - offline[i]).max() for i in both]
    figures = {
        "steps": taken,
        "episodes": len(online),
        "recorded_files": units,
        "max_difference_from_online": float(max(differences)),
        "steps_that_differ": int(
            sum((np.abs(online[i] - offline[i]) > TOLERANCE).sum() for i in both)
        ),
        "reward_mean": float(np.concatenate(list(offline.values())).mean()),
        "reward_std": float(np.concatenate(list(offline.values())).std()),
        "episodes_lost": len(online.keys() - offline.keys()),
        "episodes_doubled": sum(n - 1 for n in times.values()),
        "finished_when_killed": finished_before,
        "frame_mib": round(taken * 56 * 56 * 3 / 2**20, 1),
        "record_s": round(record_s, 1),
        "killed_run": killed,
        "resumed_run": resumed,
    }
    settings = VLM.model_dump(mode="json", exclude_defaults=True) | {"env": ENV}
    finish("relabel", figures, {**settings, "tolerance": TOLERANCE})


if __name__ == "__main__":
    main()
