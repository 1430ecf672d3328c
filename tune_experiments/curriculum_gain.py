"""Does a curriculum help? Compares goals in stages with all goals at once.

    python tune_experiments/curriculum_gain.py --output runs/curriculum_gain

There are three families of goals: face a thing, pick it up, put it next to
another. Each curriculum trains on them with the same budget and seeds, and
CLIP alone pays. The measure is success by ground truth on put-next goals whose
pairs of things training never asks for. It is compared with a goal-blind agent:
the same policy, shown another goal. The script writes gain.json and gain.png to
the folder: means over seeds with 95 % intervals (Student's t). If it is
interrupted, run the same command again to continue.
"""

import argparse
import itertools
import json
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import interval, search

CONFIGS = Path(__file__).parent.parent / "configs"
KINDS = ("uniform", "staged", "success_window", "learning_progress")
COLORS = ("red", "green", "blue")
THINGS = [f"{color} {kind}" for color in COLORS for kind in ("ball", "box", "key")]
HELD_OUT_PAIRS = 6  # of 36


def goals() -> dict[str, list[str]]:
    """Return the training goals, and put-next goals for pairs that training does not have."""
    pairs = [*itertools.combinations(THINGS, 2)]
    held_out = set(random.Random(0).sample(pairs, HELD_OUT_PAIRS))

    def put_next(chosen: Any) -> list[str]:
        return [f"put the {a} next to the {b}" for pair in chosen for a, b in (pair, pair[::-1])]

    facing = [f"go to the {thing}" for thing in THINGS]
    lifting = [f"pick up the {thing}" for thing in THINGS]
    trained = [pair for pair in pairs if pair not in held_out]
    return {
        "goals": facing + lifting + put_next(trained),
        "evaluation_goals": put_next(sorted(held_out)),
    }


def space(kinds: list[str], seeds: int, steps: int) -> dict[str, Any]:
    """Return the search space: playroom.yaml in a room of two things, each curriculum and seed."""
    base = Experiment.from_file(CONFIGS / "playroom.yaml").to_dict()
    room = {"room_size": 6, "num_objects": 2, "max_steps": 32, "colors": list(COLORS)}
    return {
        **base,
        "seed": tune.grid_search([*range(seeds)]),
        "environment": {"env": "rllib_vlm_reward/Playroom-v0", "env_config": room},
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
        "vlm_reward": {
            **base["vlm_reward"],
            **goals(),
            "serving": {"pool_name": "curriculum-gain", "num_cpus_per_actor": 0},
        },
        "curriculum": {"kind": tune.grid_search(kinds), "window": 8},
        "stop": {"env_steps": steps},
        "evaluation_episodes": 50,
    }


def summarise(reports: list[dict[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Return each curriculum's learning curve: env steps, and success as a mean over seeds."""
    courses: dict[str, dict[str, list[Any]]] = {}
    for kind in dict.fromkeys(report["curriculum.kind"] for report in reports):
        rows = [report for report in reports if report["curriculum.kind"] == kind]
        by_seed = [
            [r for r in rows if r["seed"] == seed] for seed in sorted({r["seed"] for r in rows})
        ]
        columns = [*zip(*by_seed, strict=True)]  # each with one report of every seed
        courses[kind] = {
            "env_steps": [round(fmean(r["env_steps"] for r in column)) for column in columns],
            "success": [
                interval([r["ground_truth_success"] for r in column]) for column in columns
            ],
            "goal_blind_success": [
                interval([r["goal_blind_success"] for r in column]) for column in columns
            ],
            "wall_seconds": [r["wall_seconds"] for r in columns[-1]],
        }
    return courses


def draw(courses: dict[str, dict[str, list[Any]]], path: Path) -> None:
    """Draw the success on held-out put-next goals over env steps."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for kind, course in courses.items():
        means = [point["mean"] for point in course["success"]]
        (line,) = axes.plot(course["env_steps"], means, marker="o", label=kind)
        if course["success"][0]["low"] is not None:
            low, high = ([point[end] for point in course["success"]] for end in ("low", "high"))
            axes.fill_between(course["env_steps"], low, high, color=line.get_color(), alpha=0.2)
        blind = [point["mean"] for point in course["goal_blind_success"]]
        axes.plot(course["env_steps"], blind, linestyle=":", color=line.get_color())
    axes.set(xlabel="env steps", ylabel="success on held-out put-next goals", ylim=(0, 1))
    axes.set_title("dotted: goal-blind; shaded: 95 % over seeds", fontsize=9)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Train, and write gain.json and gain.png."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs", "curriculum_gain"),
        help="folder for the results",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=["uniform", "staged"],
        metavar="KIND",
        help=f"curricula to compare, of {', '.join(KINDS)}",
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--steps", type=int, default=160_000, help="env steps of a training")
    args = parser.parse_args()
    results = search(
        space(args.kinds, args.seeds, args.steps),
        args.output,
        num_samples=1,
        scheduler=FIFOScheduler(),
    )
    if results.remaining:
        parser.exit(1, f"{results.remaining}\n")
    courses = summarise(results.reports)
    summary = {"courses": courses, "seeds": args.seeds, "budget_env_steps": args.steps}
    (args.output / "gain.json").write_text(json.dumps(summary, indent=1) + "\n")
    draw(courses, args.output / "gain.png")
    for kind, course in courses.items():
        print(
            kind, json.dumps(course["success"][-1]), "goal-blind", course["goal_blind_success"][-1]
        )


if __name__ == "__main__":
    main()
