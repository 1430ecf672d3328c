"""Trains a family of CLIPs on the same data, from clearly poor to clearly good.

    python tune_experiments/paper_family.py          # for BabyAI's rooms
    python tune_experiments/paper_family.py house    # for HouseRoom-v0

The CLIPs have five vision towers of different sizes and the same text tower,
and are trained on the same frames with the same settings. In the rooms,
training neither shows nor names four of the 18 things, although it shows their
colours and kinds. The script scores each size on layouts that training never
saw, and on these four things. It writes the scores to
docs/findings/family.json, and the weights and a model card of each size to
tune_experiments/paper_clips/, where the other experiments on the paper's
findings read them; for the house, to house_family.json and house_clips/. Sizes
that are trained already are not trained again.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import ray
import torch

from rllib_vlm_reward.pretraining import EnvSource, Settings, train_clip
from rllib_vlm_reward.serving.deployment import joined_cluster

SIZES = ("xs", "s", "m", "l", "xl")
FINDINGS = Path(__file__).parent.parent / "docs" / "findings"


@dataclasses.dataclass(frozen=True)
class Family:
    """What the CLIPs of a family have in common.

    Attributes:
        clips: the folder beside this file with an architecture for each size.
        source: the env whose frames they learn from.
        settings: those of each training.
        output: the JSON file of their scores.
    """

    clips: str
    source: EnvSource
    settings: Settings
    output: str

    @property
    def folder(self) -> Path:
        """The family's folder; a relative path, since model cards name it."""
        return Path(os.path.relpath(Path(__file__).parent / self.clips))


FAMILIES = {
    "rooms": Family(
        "paper_clips",
        EnvSource("rllib_vlm_reward/Rooms-v0"),
        Settings(
            num_frames=100_000,
            steps=2000,
            held_out_frames=10_000,
            held_out_things=("red key", "green ball", "blue box", "purple key"),
        ),
        "family.json",
    ),
    # The frames and settings of the CLIP `house`, which ships.
    "house": Family(
        "house_clips",
        EnvSource("rllib_vlm_reward/HouseRoom-v0", {"max_steps": 40, "end_on_success": False}),
        Settings(num_frames=40_000, steps=1800, held_out_frames=10_000),
        "house_family.json",
    ),
}


@ray.remote(num_cpus=1)
def train(size: str, family: Family) -> str:
    """Train one size, as `rllib-vlm-reward train-clip` would."""
    torch.set_num_threads(1)  # for such small models, two threads are slower than one
    folder = family.folder / size
    train_clip(f"{folder}/random", family.source, folder, family.settings)
    return size


def row(folder: Path) -> dict[str, Any]:
    """Return the settings, parameters and scores of a size."""
    metrics = json.loads((folder / "metrics.json").read_text())
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
    parser.add_argument("world", nargs="?", choices=FAMILIES, default="rooms")
    world = parser.parse_args().world
    family = FAMILIES[world]
    missing = [size for size in SIZES if not (family.folder / size / "metrics.json").exists()]
    with joined_cluster(include_dashboard=False):
        waiting = [train.remote(size, family) for size in missing]
        while waiting:
            (done,), waiting = ray.wait(waiting)
            print(f"{ray.get(done)} is trained, {len(waiting)} are left", flush=True)
    rows = {size: row(family.folder / size) for size in SIZES}
    command = " ".join(["python tune_experiments/paper_family.py", *[world] * (world != "rooms")])
    FINDINGS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"figures": rows, "command": command}, indent=1)
    (FINDINGS / family.output).write_text(text + "\n")
    for size, figures in rows.items():
        average_precision = {
            name: round(scores["lift"]["average_precision"], 3)
            for name in ("held_out", "held_out_things")
            if (scores := figures[name])
        }
        print(size, figures["parameters"]["vision"], figures["flops_per_frame"], average_precision)


if __name__ == "__main__":
    main()
