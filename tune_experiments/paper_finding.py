"""What the experiments on the paper's findings share: the task, the seeds, and what is written.

A finding is a grid of variants, searched once for each seed into a folder of its own, so that more
seeds may follow and none is trained twice. Its JSON holds what was trained, with which command, on
which machine.
"""

import argparse
import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray.tune.schedulers import FIFOScheduler

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames, score_labelled
from rllib_vlm_reward.sweep import SweepResults, interval, search

CONFIGS = Path(__file__).parent.parent / "configs"
FINDINGS = Path(__file__).parent.parent / "docs" / "findings"
CLIPS = Path(__file__).parent.resolve() / "paper_clips"
EPISODES = 300  # of each player
# Under these names findings hold what a search's reports call otherwise.
MEASURES = {
    "success": "ground_truth_success",
    "vlm_return": "vlm_return_mean",
    "false_positives": "false_positives_per_episode",
    "goal_blind_success": "goal_blind_success",
    "wall_seconds": "wall_seconds",
}

Rows = list[dict[str, Any]]


def lift(seed: int, steps: int, **reward: Any) -> dict[str, Any]:
    """Return the quickstart's task as a space: of three things, pick up the one that is named.

    Args:
        seed: of envs, policy and learner.
        steps: env steps of a training.
        **reward: keys of ``vlm_reward``, of which some may be grids.
    """
    base = Experiment.from_file(CONFIGS / "quickstart.yaml").to_dict()
    return {
        **base,
        "seed": seed,
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
        "training": {**base["training"], "lr": 0.001},
        "vlm_reward": {**base["vlm_reward"], **reward, "serving": {"num_cpus_per_actor": 0}},
        "stop": {"env_steps": steps},
        "evaluation_episodes": 100,
    }


@functools.cache
def labelled_lift() -> LabelledFrames:
    """Return the fixed set of labelled frames: chance and BabyAI's bot in the task of `lift`."""
    experiment = Experiment.model_validate(lift(0, 1))
    return collect(experiment, players=("random", "expert"), episodes=EPISODES, seed=0)


def judge_lift(**reward: Any) -> ScoredFrames:
    """Return the fixed set as a reward scores it.

    Args:
        **reward: keys of ``vlm_reward``.
    """
    return score_labelled(
        Experiment.model_validate(lift(0, 1, **reward)).vlm_reward, labelled_lift()
    )


def at_best_f1(**reward: Any) -> dict[str, Any]:
    """Return the reward with the β that has the best F1 on the fixed set."""
    return {**reward, "threshold": round(judge_lift(**reward, threshold=None).threshold, 6)}


def finding(
    doc: str | None,
    name: str,
    *,
    space: Callable[[int, int], dict[str, Any]],
    tell: Callable[[list[SweepResults]], dict[str, Any]],
    draw: Callable[[dict[str, Any], Path], None],
    seeds: int,
    steps: int,
) -> None:
    """Train what is not trained, and write docs/findings/NAME.json and .png.

    Args:
        doc: of the experiment, for ``--help``.
        name: of the finding.
        space: from seed and env steps to the grid of one seed.
        tell: from each seed's results to the figures.
        draw: of the figures.
        seeds: how many, in the full setting; 1 with ``--quick``.
        steps: of each training, in the full setting; a quarter with ``--quick``.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, a quarter of the steps")
    parser.add_argument("--seeds", type=int, help="in place of the setting's")
    parser.add_argument("--steps", type=int, help="of each training, in place of the setting's")
    parser.add_argument("--output", type=Path, help="folder of the trainings; runs/NAME by default")
    args = parser.parse_args()
    seeds = args.seeds or (1 if args.quick else seeds)
    steps = args.steps or (steps // 4 if args.quick else steps)
    folder = args.output or Path("runs", f"{name}-quick" if args.quick else name)
    results = []
    for seed in range(seeds):
        own = folder / f"seed-{seed}"
        found = search(space(seed, steps), own, num_samples=1, scheduler=FIFOScheduler())
        if found.left:
            parser.exit(1, f"{found.left}\n")
        results.append(found)
    told = {"figures": tell(results), "seeds": seeds, "env_steps": steps, **_where(name, args)}
    place = folder if args.quick else FINDINGS
    place.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, indent=1)
    (place / f"{name}.json").write_text(text + "\n")
    draw(told["figures"], place / f"{name}.png")
    print(text)


def rows_of(results: list[SweepResults]) -> Rows:
    """Return the last report of every training, with its seed."""
    return [{**row, "seed": seed} for seed, its in enumerate(results) for row in its.rows]


def over_seeds(rows: Rows, variant: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, Any]]:
    """Return each variant's measures: mean, 95 % interval over seeds (Student's t), and each."""
    told: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(variant(row) for row in sorted(rows, key=variant)):
        own = [row for row in rows if variant(row) == name]
        told[name] = {
            measure: interval([row[key] for row in own])
            for measure, key in MEASURES.items()
            if all(row[key] is not None for row in own)
        }
    return told


def _where(name: str, args: argparse.Namespace) -> dict[str, Any]:
    given = {key: getattr(args, key) for key in ("seeds", "steps", "output")}
    options = [f"--{key} {value}" for key, value in given.items() if value]
    command = " ".join(["python", f"tune_experiments/{name}.py", *["--quick"] * args.quick])
    return {
        "command": " ".join([command, *options]),
        "machine": {"cpu": platform.machine(), "cores": len(os.sched_getaffinity(0))},
        "ray": ray.__version__,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
