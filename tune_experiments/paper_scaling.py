"""Does a larger CLIP, whose offline curve is better, train a better agent? The paper's figure 4.

    python tune_experiments/paper_scaling.py

Left: precision and recall over β of each size of tune_experiments/paper_clips/ (made by
paper_family.py), on one fixed set of labelled frames: chance and BabyAI's bot in the task of the
quickstart. Right: success by ground truth of agents that each size alone paid, each with the β of
its own best F1 on those frames, and its rank correlation with the left side's average precision.

The full setting: 5 sizes, 5 seeds. docs/findings/paper_scaling.json and .png are what it leaves.
"""

import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from paper_finding import (
    CLIPS,
    at_best_f1,
    finding,
    judge_lift,
    labelled_lift,
    lift,
    over_seeds,
    rows_of,
)
from ray import tune

from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.metrics.precision_recall import precision_recall
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.sweep import SweepResults

SIZES = ("xs", "s", "m", "l", "xl")


@functools.cache
def rewards() -> dict[str, dict[str, Any]]:
    """Return the keys of ``vlm_reward`` that each size has for itself."""
    return {size: at_best_f1(encoder=str(CLIPS / size)) for size in SIZES}


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the task with each size; a trial has a reward actor of its own."""
    base = lift(seed, steps)
    each = [{**base["vlm_reward"], **its} for its in rewards().values()]
    return {**base, "vlm_reward": tune.grid_search(each)}


def tell(results: list[SweepResults]) -> dict[str, Any]:
    """Return the offline curves, the agents, and how well the first foretell the second."""
    curves = {size: offline(size) for size in SIZES}
    rows = rows_of(results)
    agents = over_seeds(rows, size_of)
    precise = [curves[size_of(row)]["average_precision"]["value"] for row in rows]
    frames = labelled_lift()
    return {
        "offline": curves,
        "agents": {size: agents[size] for size in SIZES},
        "frames": len(frames),
        "successes": int(frames.labels.sum()),
        "rank_correlation": rank_correlation(
            np.array(precise), np.array([row["ground_truth_success"] for row in rows])
        ),
    }


def size_of(row: dict[str, Any]) -> str:
    """Return which size paid."""
    return Path(row["vlm_reward"]["encoder"]).name


def offline(size: str) -> dict[str, Any]:
    """Return a size's β, its figures and its curve over β."""
    judged = judge_lift(**rewards()[size])
    curve = precision_recall(judged.scores, judged.frames.labels)
    shown = np.unique(np.linspace(0, len(curve.recall) - 1, 200).astype(int))
    return {
        "threshold": judged.threshold,
        **figures(judged).to_dict(),
        "curve": {
            "precision": np.round(curve.precision[shown], 4).tolist(),
            "recall": np.round(curve.recall[shown], 4).tolist(),
        },
    }


def draw(told: dict[str, Any], path: Path) -> None:
    """Draw the curves, and the agents' success over average precision."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for size in SIZES:
        judged, success = told["offline"][size], told["agents"][size]["success"]
        (line,) = left.plot(*(judged["curve"][end] for end in ("recall", "precision")), label=size)
        mark = functools.partial(
            right.errorbar, fmt="o", capsize=3, color=line.get_color(), label=size
        )
        area = judged["average_precision"]
        x, aside = area["value"], [[area["value"] - area["low"]], [area["high"] - area["value"]]]
        if success["low"] is None:
            mark(x, success["mean"], xerr=aside)
        else:
            up = [[success["mean"] - success["low"]], [success["high"] - success["mean"]]]
            mark(x, success["mean"], xerr=aside, yerr=up)
    left.set(xlabel="recall", ylabel="precision", title="offline", xlim=(0, 1), ylim=(0, 1.02))
    right.set(
        xlabel="average precision, offline",
        ylabel="agents' success by ground truth",
        title=f"online; rank correlation {told['rank_correlation']:.2f}",
        ylim=(0, 1.02),
    )
    left.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(__doc__, "paper_scaling", space=space, tell=tell, draw=draw, seeds=5, steps=80_000)
