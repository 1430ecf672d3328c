"""Shared by the experiments on the paper's findings: tasks, seeds, and output.

A finding compares variants, which form a grid. Each seed is a search of this
grid in a separate folder, so that more seeds can be added later and nothing is
trained twice. The JSON of a finding says what was trained, with which command
and on which machine.
"""

import argparse
import dataclasses
import functools
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
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
HOUSE_CLIPS = CLIPS.with_name("house_clips")
EPISODES = 300  # of each player
# The measures of a finding, and their names in the reports of a search.
MEASURES = {
    "success": "ground_truth_success",
    "vlm_return": "vlm_return_mean",
    "false_positives": "false_positives_per_episode",
    "goal_blind_success": "goal_blind_success",
    "wall_seconds": "wall_seconds",
}

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Task:
    """A run in which rewards are compared, and a fixed set of its labelled frames.

    Attributes:
        config: name of its configuration.
        assignments: what differs from it, as for ``--set``.
        to_label: what also differs where frames are collected.
    """

    config: str
    assignments: tuple[str, ...] = ()
    to_label: tuple[str, ...] = ()

    def space(self, seed: int, steps: int, **reward: Any) -> dict[str, Any]:
        """Return the run as a search space.

        Args:
            seed: seed of envs, policy and learner.
            steps: env steps of a training.
            **reward: keys of ``vlm_reward``; their values may be grids.
        """
        base = Experiment.from_file(CONFIGS / f"{self.config}.yaml", self.assignments).to_dict()
        return {
            **base,
            "seed": seed,
            "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
            "vlm_reward": {**base["vlm_reward"], **reward, "serving": {"num_cpus_per_actor": 0}},
            "stop": {"env_steps": steps},
            "evaluation_episodes": 100,
        }

    @functools.cache  # noqa: B019, since there are two tasks
    def labelled(self) -> LabelledFrames:
        """Return the frames: of random play, and of the env's expert."""
        path = CONFIGS / f"{self.config}.yaml"
        experiment = Experiment.from_file(path, (*self.assignments, *self.to_label))
        return collect(experiment, players=("random", "expert"), episodes=EPISODES, seed=0)

    def score(self, **reward: Any) -> ScoredFrames:
        """Score the labelled frames with a reward.

        Args:
            **reward: keys of ``vlm_reward``.
        """
        # Only a reward with a threshold can end an episode.
        experiment = Experiment.model_validate(self.space(0, 1, **reward, early_end=False))
        return score_labelled(experiment.vlm_reward, self.labelled())

    def at_best_f1(self, **reward: Any) -> dict[str, Any]:
        """Return the reward with the β that has the best F1 on the labelled frames."""
        return {**reward, "threshold": round(self.score(**reward, threshold=None).threshold, 6)}


LIFT = Task("quickstart", ("training.lr=0.001",))
"""Pick up the named one of three things."""
FIND = Task(
    "house",
    (
        "environment.env_config.families=[find]",
        "vlm_reward.goals=['go near the {red ball|green box|blue barrel|duckie|medkit|cone}']",
    ),
    # An agent's episode ends when it is paid, so the expert must not stand at its goal for long.
    to_label=("environment.env_config.end_on_success=true",),
)
"""Walk up to the named one of three things in the house. A thing that is carried looks the same in
each frame, so that also the smallest CLIP knows it."""


def finding(
    doc: str | None,
    name: str,
    *,
    space: Callable[[int, int], dict[str, Any]],
    summarise: Callable[[list[SweepResults]], dict[str, Any]],
    draw: Callable[[dict[str, Any], Path], None],
    seeds: int,
    steps: int,
) -> None:
    """Train what is not trained yet, and write docs/findings/NAME.json and .png.

    Args:
        doc: the experiment's description, for ``--help``.
        name: name of the finding.
        space: returns the grid of one seed, from the seed and the env steps.
        summarise: returns the figures, from the results of each seed.
        draw: draws the figures to a file.
        seeds: number of seeds in the full setting; 1 with ``--quick``.
        steps: env steps of each training in the full setting; a quarter with ``--quick``.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="use one seed and a quarter of the steps"
    )
    parser.add_argument("--seeds", type=int, help="number of seeds, in place of the setting's")
    parser.add_argument(
        "--steps", type=int, help="env steps of each training, in place of the setting's"
    )
    parser.add_argument(
        "--output", type=Path, help=f"folder for the trainings; runs/{name} by default"
    )
    args = parser.parse_args()
    seeds = args.seeds or (1 if args.quick else seeds)
    steps = args.steps or (steps // 4 if args.quick else steps)
    folder = args.output or Path("runs", f"{name}-quick" if args.quick else name)
    results = []
    for seed in range(seeds):
        path = folder / f"seed-{seed}"
        found = search(space(seed, steps), path, num_samples=1, scheduler=FIFOScheduler())
        if found.remaining:
            parser.exit(1, f"{found.remaining}\n")
        results.append(found)
    summary = {
        "figures": summarise(results),
        "seeds": seeds,
        "env_steps": steps,
        **_provenance(name, args),
    }
    place = folder if args.quick else FINDINGS
    place.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1)
    (place / f"{name}.json").write_text(text + "\n")
    draw(summary["figures"], place / f"{name}.png")
    print(text)


def rows_of(results: list[SweepResults]) -> Rows:
    """Return the last report of every training, with its seed."""
    return [{**row, "seed": seed} for seed, found in enumerate(results) for row in found.rows]


def over_seeds(rows: Rows, variant: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, Any]]:
    """Return each variant's measures, as means over seeds with 95 % intervals (Student's t)."""
    measures: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(variant(row) for row in sorted(rows, key=variant)):
        same = [row for row in rows if variant(row) == name]
        measures[name] = {
            measure: interval([row[key] for row in same])
            for measure, key in MEASURES.items()
            if all(row[key] is not None for row in same)
        }
    return measures


def learning_curve(
    results: list[SweepResults], key: str, value: Any, measures: Sequence[str]
) -> dict[str, Any]:
    """Return a variant's measures over training, as means over seeds with 95 % intervals.

    Args:
        results: the results of each seed.
        key: the searched key by which variants differ.
        value: its value in this variant.
        measures: some of :data:`MEASURES`.
    """
    by_seed = [[report for report in found.reports if report[key] == value] for found in results]
    columns = [*zip(*by_seed, strict=True)]  # each with one report of every seed
    return {
        "env_steps": [round(fmean(report["env_steps"] for report in column)) for column in columns],
        **{
            measure: [
                interval([report[MEASURES[measure]] for report in column]) for column in columns
            ]
            for measure in measures
        },
    }


def draw_success(agents: dict[str, dict[str, Any]], path: Path, height: float) -> None:
    """Draw each variant's success as a bar with its interval and a dot for each agent.

    Args:
        agents: what :func:`over_seeds` returns, in the order from above.
        path: path of the picture.
        height: height of the picture in inches.
    """
    figure, axes = plt.subplots(figsize=(8, height), layout="constrained")
    for place, row in enumerate(reversed(agents.values())):
        success = row["success"]
        mean, low, high = (success[end] for end in ("mean", "low", "high"))
        ends = None if low is None else [[mean - low], [high - mean]]
        axes.barh(place, mean, 0.7, xerr=ends, capsize=4)
        axes.plot(success["each"], [place] * len(success["each"]), "k.", markersize=4)
    axes.set_yticks(range(len(agents)), [*reversed(agents)], fontsize=9)
    axes.set(xlim=(0, 1.02), xlabel="agents' success by ground truth")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _provenance(name: str, args: argparse.Namespace) -> dict[str, Any]:
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
