"""Does more VLM return mean more success? The paper's figure 3.

    python tune_experiments/paper_returns.py

There are three tasks in a room of two things: face the named one (find), pick
it up (lift), put it next to the other (place). CLIP alone pays. `place` is
trained with `find` and `lift` as earlier stages, since an agent does not learn
it alone within this budget (docs/curricula.md); it is evaluated on pairs that
training never asked for. The script records, over training, what CLIP paid in
an episode, success by ground truth, and false positives, which would reveal
reward hacking. An episode of `place` may continue after success, and each step
is paid: BabyAI ends it only if the thing named first was moved.

The full setting has 3 tasks and 5 seeds. The script writes
docs/findings/paper_returns.json and .png.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from curriculum_gain import THINGS, goals
from paper_finding import CONFIGS, finding, learning_curve
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.sweep import SweepResults

FIND = [f"go to the {thing}" for thing in THINGS]
LIFT = [f"pick up the {thing}" for thing in THINGS]
TASKS = {
    "find": {"goals": FIND, "evaluation_goals": []},
    "lift": {"goals": LIFT, "evaluation_goals": []},
    "place": goals(),
}


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space: playroom.yaml in curriculum_gain.py's room, each task's goals."""
    base = Experiment.from_file(CONFIGS / "playroom.yaml").to_dict()
    room = {"room_size": 6, "num_objects": 2, "max_steps": 32, "colors": ["red", "green", "blue"]}
    reward = {
        **base["vlm_reward"],
        "serving": {"pool_name": "paper-returns", "num_cpus_per_actor": 0},
    }
    return {
        **base,
        "seed": seed,
        "environment": {"env": "rllib_vlm_reward/Playroom-v0", "env_config": room},
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
        "vlm_reward": {
            **reward,
            "goals": tune.grid_search([task["goals"] for task in TASKS.values()]),
            "evaluation_goals": tune.sample_from(_evaluation_goals),
        },
        "curriculum": tune.sample_from(_curriculum),
        "stop": {"env_steps": steps},
        "evaluation_episodes": 100,
    }


def _task(spec: Any) -> str:
    goals = spec.config.vlm_reward.goals
    return next(name for name, task in TASKS.items() if task["goals"] == goals)


def _evaluation_goals(spec: Any) -> list[str]:
    return TASKS[_task(spec)]["evaluation_goals"]


def _curriculum(spec: Any) -> dict[str, Any]:
    if _task(spec) == "place":
        return {"kind": "staged", "stages": [["find"], ["lift"], ["place"]], "window": 8}
    return {"kind": "uniform"}


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the learning curves of each task, and the rank correlation of return and success."""
    figures = {}
    for name, task in TASKS.items():
        key, goals_ = "vlm_reward.goals", task["goals"]
        rows = [report for found in results for report in found.reports if report[key] == goals_]
        figures[name] = {
            **learning_curve(results, key, goals_, ("vlm_return", "success", "false_positives")),
            "rank_correlation": rank_correlation(
                np.array([report["vlm_return_mean"] for report in rows]),
                np.array([report["ground_truth_success"] for report in rows]),
            ),
        }
    return figures


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw VLM return, success and false positives of each task over env steps."""
    figure, rows = plt.subplots(
        2, len(figures), figsize=(12, 6), sharex=True, layout="constrained", squeeze=False
    )
    shown = (
        ("vlm_return", "VLM return", rows[0]),
        ("success", "success by ground truth", rows[1]),
        ("false_positives", "false positives per episode", rows[1]),
    )
    for measure, label, row in shown:
        for axes, course in zip(row, figures.values(), strict=True):
            steps, means = course["env_steps"], [point["mean"] for point in course[measure]]
            (line,) = axes.plot(steps, means, marker="o", label=label)
            if course[measure][0]["low"] is not None:
                low, high = ([point[end] for point in course[measure]] for end in ("low", "high"))
                axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15)
    for (name, course), above, below in zip(figures.items(), *rows, strict=True):
        above.set(title=f"{name}: rank correlation {course['rank_correlation']:.2f}")
        above.set_ylim(bottom=0)
        below.set(xlabel="env steps", ylim=(0, 1.05))
        below.locator_params(axis="x", nbins=4)
    for row in rows:
        row[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(
        __doc__,
        "paper_returns",
        space=space,
        summarise=summarise,
        draw=draw,
        seeds=5,
        steps=160_000,
    )
