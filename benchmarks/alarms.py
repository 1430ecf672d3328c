"""Which alarm does a wrong reward raise, and when? Trains the quickstart for a few iterations.

    python benchmarks/alarms.py --out docs/benchmarks/alarms.json

A row is a kind of reward, a CLIP, a head and a seed. Rows that --out holds are not trained again.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import ray
import safetensors.torch
import torch
from report import commit, machine, say, start_ray

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.cli.app import quiet
from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.goal_config import GoalConfig
from rllib_vlm_reward.reward_model import spec

ROOT = Path(__file__).parent.parent
CLIPS = Path(spec.__file__).parent / "checkpoints"
Weights = dict[str, torch.Tensor]


def untrained(weights: Weights, folder: Path, seed: int) -> Weights:
    """Return open_clip's own random weights."""
    torch.manual_seed(seed)
    return dict(open_clip.create_model(f"local-dir:{folder}", load_weights=False).state_dict())


def mixed(weights: Weights, folder: Path, seed: int) -> Weights:
    """Return each tensor's numbers in another order."""
    order = torch.Generator().manual_seed(seed)
    return {
        name: each.flatten()[torch.randperm(each.numel(), generator=order)].view(each.shape)
        for name, each in weights.items()
    }


def half(weights: Weights, folder: Path, seed: int) -> Weights:
    """Return a trained text tower with an untrained image tower."""
    fresh = untrained(weights, folder, seed)
    return {name: (fresh if name.startswith("visual") else weights)[name] for name in weights}


def constant(weights: Weights, folder: Path, seed: int) -> Weights:
    """Return weights with which no picture makes a difference."""
    return {**weights, "visual.proj": torch.zeros_like(weights["visual.proj"])}


Change = Callable[[Weights, Path, int], Weights]
CHANGES: dict[str, Change] = {
    "untrained weights": untrained,
    "mixed weights": mixed,
    "untrained image tower": half,
    "constant": constant,
}


def changed(clip: str, change: Change, seed: int, folder: Path) -> str:
    """Write a CLIP whose weights were changed; return its folder."""
    shutil.copy(CLIPS / clip / "open_clip_config.json", folder)
    weights = safetensors.torch.load_file(CLIPS / clip / "open_clip_model.safetensors")
    given = {name: it.contiguous().clone() for name, it in change(weights, folder, seed).items()}
    safetensors.torch.save_file(given, folder / "open_clip_model.safetensors")
    return str(folder)


def shuffled(experiment: Experiment, seed: int) -> Experiment:
    """Return the experiment with each goal described by another's prompt."""
    goals = experiment.vlm_reward.goal_set.goals
    rng = np.random.default_rng(seed)
    order = np.arange(len(goals))
    while (order == np.arange(len(goals))).any():
        order = rng.permutation(len(goals))
    swapped = tuple(
        GoalConfig(text=goal.text, prompt=goals[other].prompt)
        for goal, other in zip(goals, order, strict=True)
    )
    reward = experiment.vlm_reward.model_copy(update={"goals": swapped})
    return experiment.model_copy(update={"vlm_reward": reward})


def experiment_of(kind: str, clip: str, head: str, seed: int, folder: Path) -> Experiment:
    """Return the quickstart with a reward of this kind."""
    experiment = Experiment.from_file(ROOT / "configs" / "quickstart.yaml")
    encoder = changed(clip, CHANGES[kind], seed, folder) if kind in CHANGES else clip
    changes: dict[str, Any] = {"encoder": encoder, "num_cpus_per_actor": 0}
    if head != "softmax":
        changes |= {"head": head, "threshold": None}
    reward = experiment.vlm_reward.model_copy(update=changes)
    runners = {"num_env_runners": 0, "num_envs_per_env_runner": 32}
    given = {"vlm_reward": reward, "seed": seed, "env_runners": runners}
    experiment = experiment.model_copy(update=given)
    return shuffled(experiment, seed) if kind == "shuffled goals" else experiment


def train(experiment: Experiment, iterations: int) -> dict[str, Any]:
    """Return the alarms in force after each iteration, or how training ended."""
    algorithm = experiment.to_algorithm_config().build_algo()
    watch, each = callbacks_of(algorithm).watch, []
    try:
        for _ in range(iterations):
            algorithm.train()
            digest = watch.digests[None]
            seen = {"mean": digest.mean, "spread": digest.spread, "steps": digest.steps}
            each.append({"alarms": watch.in_force, **seen})
    except Exception as error:
        each.append({"alarms": [type(error).__name__], "error": str(error)})
    finally:
        algorithm.stop()
    first = next((i for i, it in enumerate(each, start=1) if it["alarms"]), None)
    return {"first": first, "kinds": each[first - 1]["alarms"] if first else [], "each": each}


def rows(iterations: int) -> Iterator[tuple[str, str, str, int, int]]:
    """Yield each row's kind, CLIP, head, seed and iterations, the most telling first."""
    for seed in range(3):
        for kind in ("untrained weights", "mixed weights", "shuffled goals"):
            for clip in ("base", "small"):
                yield kind, clip, "softmax", seed, iterations
    for clip in ("base", "small"):
        yield "constant", clip, "softmax", 0, iterations
        yield "untrained image tower", clip, "softmax", 0, iterations
        yield "good", clip, "softmax", 0, 10
    for kind in ("good", "shuffled goals", "untrained weights", "mixed weights"):
        for clip in ("base", "small"):
            yield kind, clip, "cosine", 0, iterations


def main() -> None:
    """Train what is missing, and write after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks" / "alarms.json")
    args = parser.parse_args()
    quiet()
    start_ray()
    found = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for kind, clip, head, seed, iterations in rows(args.iterations):
        row = {"reward": kind, "clip": clip, "head": head, "seed": seed, "iterations": iterations}
        if any(it.items() >= row.items() for it in found):
            continue
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            row |= train(experiment_of(kind, clip, head, seed, Path(folder)), iterations)
        found.append({**row, "seconds": round(time.perf_counter() - begin, 1)})
        say(f"{kind}, {clip}, {head}, seed {seed}: {row['kinds']} in iteration {row['first']}")
        told = {"rows": found, "command": " ".join(["python", *sys.argv])}
        about = {"machine": machine(), "commit": commit(), "ray": ray.__version__}
        fresh = args.out.with_suffix(".new")
        fresh.write_text(json.dumps({**told, **about}, indent=1) + "\n")
        os.replace(fresh, args.out)
    ray.shutdown()


if __name__ == "__main__":
    main()
