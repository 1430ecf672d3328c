"""A family of CLIPs on the same data, from clearly poor to clearly good.

    python tune_experiments/paper_family.py

Five vision towers beside one text tower, trained on the same frames with the same settings. Four of
the 18 things are neither shown nor named in training, though their colours and kinds are, with
others. What each size scores, on layouts that training never saw and on those things, is in
docs/findings/family.json; the weights and a model card each are in tune_experiments/paper_clips/,
where the other experiments of the paper's findings read them. A size that is trained is not
trained again.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import ray
import torch

from rllib_vlm_reward.pretraining import Settings, train_clip
from rllib_vlm_reward.serving.deployment import joined_cluster

# Not from the root, since model cards name it.
CLIPS = Path(os.path.relpath(Path(__file__).parent / "paper_clips"))
SIZES = ("xs", "s", "m", "l", "xl")
HELD_OUT = ("red key", "green ball", "blue box", "purple key")
OUTPUT = Path(__file__).parent.parent / "docs" / "findings" / "family.json"


@ray.remote(num_cpus=1)
def train(size: str, settings: Settings) -> str:
    """Train one size, as `rllib-vlm-reward train-clip` would."""
    torch.set_num_threads(1)  # two wait for each other longer than they work on models this small
    train_clip(str(CLIPS / size / "open_clip_config.json"), CLIPS / size, settings)
    return size


def row(size: str) -> dict[str, Any]:
    """Return what a size is and scores."""
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
    """Train what is not trained, and write what all score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    settings = Settings(steps=args.steps, held_out_things=HELD_OUT)
    missing = [size for size in SIZES if not (CLIPS / size / "metrics.json").exists()]
    with joined_cluster(include_dashboard=False):
        waiting = [train.remote(size, settings) for size in missing]
        while waiting:
            (done,), waiting = ray.wait(waiting)
            print(f"{ray.get(done)} is trained, {len(waiting)} to go", flush=True)
    family = {size: row(size) for size in SIZES}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    told = {"figures": family, "command": "python tune_experiments/paper_family.py"}
    args.output.write_text(json.dumps(told, indent=1) + "\n")
    for size, its in family.items():
        precise = {
            name: round(its[name][what]["average_precision"], 3)
            for name in ("held_out", "held_out_things")
            for what in ("lift",)
        }
        print(size, its["parameters"]["vision"], its["flops_per_frame"], precise)


if __name__ == "__main__":
    main()
