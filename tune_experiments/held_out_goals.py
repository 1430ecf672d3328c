"""Does an agent follow goals that it never saw in training?

    python tune_experiments/held_out_goals.py --output runs/held_out_goals

The task is the quickstart's: of three things, pick up the one that the goal
names. Four of the 18 things are held out: no training goal names them, although
training goals name their colours and kinds. They are never in a room of training
either, where an agent might learn to ignore them. The measure is success by ground
truth on the held-out goals. It is compared with a goal-blind agent: the same
policy, shown another goal. The script writes held_out.json to the folder: means
over seeds with 95 % intervals (Student's t). If it is interrupted, run the same
command again to continue.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import interval, search

CONFIGS = Path(__file__).parent.parent / "configs"
HELD_OUT = [("red", "ball"), ("green", "box"), ("blue", "key"), ("purple", "ball")]
GOALS = {
    "goals": ["pick up the {color} {kind}"],
    "words": {
        "color": ["red", "green", "blue", "purple", "yellow", "grey"],
        "kind": ["ball", "box", "key"],
    },
    "held_out": {"pairs": HELD_OUT},
}


def space(seeds: int, steps: int) -> dict[str, Any]:
    """Return the search space: quickstart.yaml with held-out goals, and each seed."""
    base = Experiment.from_file(CONFIGS / "quickstart.yaml").to_dict()
    return {
        **base,
        "seed": tune.grid_search([*range(seeds)]),
        "environment": {
            **base["environment"],
            "env_config": {
                **base["environment"]["env_config"],
                "reserved": [" ".join(pair) for pair in HELD_OUT],
            },
        },
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
        "training": {
            **base["training"],
            "lr": [[0, 0.001], [2 * steps // 3, 0.001], [steps, 0.0001]],
        },
        "vlm_reward": {
            **base["vlm_reward"],
            "goals": GOALS,
            "serving": {"pool_name": "held-out-goals", "num_cpus_per_actor": 0},
        },
        "curriculum": {"kind": "uniform"},  # with it, the env draws training goals only
        "stop": {"env_steps": steps},
        "evaluation_episodes": 100,
    }


def main() -> None:
    """Train, and write held_out.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=Path("runs", "held_out_goals"), help="folder for the results"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--steps", type=int, default=150_000, help="env steps of a training")
    args = parser.parse_args()
    results = search(
        space(args.seeds, args.steps), args.output, num_samples=1, scheduler=FIFOScheduler()
    )
    if results.remaining:
        parser.exit(1, f"{results.remaining}\n")
    figures = {
        "held_out_success": interval([row["ground_truth_success"] for row in results.rows]),
        "goal_blind_success": interval([row["goal_blind_success"] for row in results.rows]),
        "held_out_goals": list(results.best.vlm_reward.evaluation_goals),
        "training_goals": len(results.best.vlm_reward.training_goals),
        "env_steps": args.steps,
        "wall_seconds": [row["wall_seconds"] for row in results.rows],
    }
    text = json.dumps(figures, indent=1)
    (args.output / "held_out.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
