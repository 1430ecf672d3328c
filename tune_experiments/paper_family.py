"""Trains a family of CLIPs on the same data, from clearly poor to clearly good.

    python tune_experiments/paper_family.py

The CLIPs have five vision towers of different sizes and the same text tower,
and are trained on the same frames with the same settings. Training neither
shows nor names four of the 18 things, although it shows their colours and
kinds. The script scores each size on layouts that training never saw, and on
these four things. It writes the scores to docs/findings/family.json, and the
weights and a model card of each size to tune_experiments/paper_clips/, where
the other experiments on the paper's findings read them. Sizes that are trained
already are not trained again.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import ray
import torch

from rllib_vlm_reward.pretraining import EnvSource, Settings, train_clip
from rllib_vlm_reward.serving.deployment import joined_cluster

# A relative path, since model cards name it.
CLIPS = Path(os.path.relpath(Path(__file__).parent / "paper_clips"))
ENV = "rllib_vlm_reward/Rooms-v0"
SIZES = ("xs", "s", "m", "l", "xl")
HELD_OUT = ("red key", "green ball", "blue box", "purple key")
OUTPUT = Path(__file__).parent.parent / "docs" / "findings" / "family.json"


@ray.remote(num_cpus=1)
def train(size: str, settings: Settings) -> str:
    """Train one size, as `rllib-vlm-reward train-clip` would."""
    torch.set_num_threads(1)  # for such small models, two threads are slower than one
    train_clip(f"{CLIPS / size}/random", EnvSource(ENV), CLIPS / size, settings)
    return size


def row(size: str) -> dict[str, Any]:
    """Return the settings, parameters and scores of a size."""
    metrics = json.loads((CLIPS / size / "metrics.json").read_text())
    return {
        key: metrics[key]
        for key in (
            "settings",
            "parameters",
            "flops_per_frame",
            "train_seconds",
            "fingerprint",
            "held_out",
            "held_out_things",
        )
    }


def main() -> None:
    """Train the sizes that are missing, and write the scores of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON file to write")
    args = parser.parse_args()
    settings = Settings(
        num_frames=100_000, steps=args.steps, held_out_frames=10_000, held_out_things=HELD_OUT
    )
    missing = [size for size in SIZES if not (CLIPS / size / "metrics.json").exists()]
    with joined_cluster(include_dashboard=False):
        waiting = [train.remote(size, settings) for size in missing]
        while waiting:
            (done,), waiting = ray.wait(waiting)
            print(f"{ray.get(done)} is trained, {len(waiting)} are left", flush=True)
    family = {size: row(size) for size in SIZES}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    summary = {"figures": family, "command": "python tune_experiments/paper_family.py"}
    args.output.write_text(json.dumps(summary, indent=1) + "\n")
    for size, figures in family.items():
        average_precision = {
            name: round(figures[name]["lift"]["average_precision"], 3)
            for name in ("held_out", "held_out_things")
        }
        print(size, figures["parameters"]["vision"], figures["flops_per_frame"], average_precision)


if __name__ == "__main__":
    main()
