"""Does a larger CLIP, whose offline curve is better, train a better agent? The paper's figure 4.

    python tune_experiments/paper_scaling.py

Left: precision and recall over β of each size of tune_experiments/paper_clips/ (made by
paper_family.py), on one fixed set of labelled frames: chance and BabyAI's bot in the task of the
quickstart. Right: success by ground truth of agents that each size alone paid, and its rank
correlation with the left side's average precision.

The full setting: 5 sizes, 5 seeds. docs/findings/paper_scaling.json and .png are what it leaves.
"""

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from paper_finding import finding, lift, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.judged import judge
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.precision_recall import average_precision, precision_recall
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.sweep import SweepResults

CLIPS = Path(__file__).parent.resolve() / "paper_clips"
SIZES = ("xs", "s", "m", "l", "xl")
EPISODES = 300  # of each player


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the task with each size; a trial has a reward actor of its own."""
    return lift(seed, steps, encoder=tune.grid_search([str(CLIPS / size) for size in SIZES]))


def tell(results: list[SweepResults]) -> dict[str, Any]:
    """Return the offline curves, the agents, and how well the first foretell the second."""
    experiment = Experiment.model_validate({**lift(0, 1), "seed": 0})
    frames = collect(experiment, players=("random", "expert"), episodes=EPISODES, seed=0)
    curves = {size: offline(experiment, frames, size) for size in SIZES}
    rows = rows_of(results)
    agents = over_seeds(rows, lambda row: Path(row["vlm_reward.encoder"]).name)
    precise = [curves[Path(row["vlm_reward.encoder"]).name]["average_precision"] for row in rows]
    return {
        "offline": curves,
        "agents": {size: agents[size] for size in SIZES},
        "frames": len(frames),
        "successes": int(frames.labels.sum()),
        "rank_correlation": rank_correlation(
            np.array(precise), np.array([row["success"] for row in rows])
        ),
    }


def offline(experiment: Experiment, frames: LabelledFrames, size: str) -> dict[str, Any]:
    """Return a size's curve over β, its area with a bootstrap interval over episodes."""
    judged = judge(experiment.vlm_reward, frames, encoder=str(CLIPS / size))
    scores, labels = judged.scores, frames.labels
    area = bootstrap(
        lambda rows: average_precision(scores[rows], labels[rows]), frames.episode_indices
    )
    curve = precision_recall(scores, labels)
    shown = np.unique(np.linspace(0, len(curve.recall) - 1, 200).astype(int))
    return {
        "average_precision": area.value,
        "low": area.low,
        "high": area.high,
        "precision": np.round(curve.precision[shown], 4).tolist(),
        "recall": np.round(curve.recall[shown], 4).tolist(),
    }


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw the curves, and the agents' success over average precision."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for size in SIZES:
        curve, success = figures["offline"][size], figures["agents"][size]["success"]
        (line,) = left.plot(curve["recall"], curve["precision"], label=size)
        mark = partial(right.errorbar, fmt="o", capsize=3, color=line.get_color(), label=size)
        x = curve["average_precision"]
        aside = [[x - curve["low"]], [curve["high"] - x]]
        if success["low"] is None:
            mark(x, success["mean"], xerr=aside)
        else:
            up = [[success["mean"] - success["low"]], [success["high"] - success["mean"]]]
            mark(x, success["mean"], xerr=aside, yerr=up)
    left.set(xlabel="recall", ylabel="precision", title="offline", xlim=(0, 1), ylim=(0, 1.02))
    right.set(
        xlabel="average precision, offline",
        ylabel="agents' success by ground truth",
        title=f"online; rank correlation {figures['rank_correlation']:.2f}",
        ylim=(0, 1.02),
    )
    left.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(__doc__, "paper_scaling", space=space, tell=tell, draw=draw, seeds=5, steps=80_000)
