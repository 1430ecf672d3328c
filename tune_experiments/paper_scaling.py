"""Does a CLIP with a better offline curve train a better agent? Figure 4.

    python tune_experiments/paper_scaling.py

The left chart has the curve of precision and recall over β of each CLIP in
tune_experiments/paper_clips/ (made by paper_family.py), on one fixed set of
labelled frames: random play and BabyAI's bot in the task of the quickstart. The
right chart has the success by ground truth of agents that each CLIP alone paid,
with the β that has the CLIP's best F1 on these frames, and the rank correlation
of this success with the average precision of the left chart.

The full setting has 5 sizes and 5 seeds. The script writes
docs/findings/paper_scaling.json and .png.
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
    labelled_lift,
    lift,
    over_seeds,
    rows_of,
    score_lift,
)
from ray import tune

from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.metrics.precision_recall import precision_recall
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.sweep import SweepResults

SIZES = ("xs", "s", "m", "l", "xl")


@functools.cache
def rewards() -> dict[str, dict[str, Any]]:
    """Return the keys of ``vlm_reward`` in which the sizes differ, by size."""
    return {size: at_best_f1(encoder=str(CLIPS / size)) for size in SIZES}


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space: the task with each size, without a shared pool."""
    base = lift(seed, steps)
    each = [{**base["vlm_reward"], **reward} for reward in rewards().values()]
    return {**base, "vlm_reward": tune.grid_search(each)}


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the offline curves, the agents' measures, and the rank correlation of both."""
    curves = {size: offline_figures(size) for size in SIZES}
    rows = rows_of(results)
    agents = over_seeds(rows, size_of)
    average_precisions = [curves[size_of(row)]["average_precision"]["value"] for row in rows]
    frames = labelled_lift()
    return {
        "offline": curves,
        "agents": {size: agents[size] for size in SIZES},
        "frames": len(frames),
        "successes": int(frames.labels.sum()),
        "rank_correlation": rank_correlation(
            np.array(average_precisions),
            np.array([row["ground_truth_success"] for row in rows]),
        ),
    }


def size_of(row: dict[str, Any]) -> str:
    """Return the size of the CLIP that paid."""
    return Path(row["vlm_reward"]["encoder"]).name


def offline_figures(size: str) -> dict[str, Any]:
    """Return a size's β, its figures and its curve over β."""
    scored = score_lift(**rewards()[size])
    curve = precision_recall(scored.scores, scored.frames.labels)
    shown = np.unique(np.linspace(0, len(curve.recall) - 1, 200).astype(int))
    return {
        "threshold": scored.threshold,
        **figures(scored).to_dict(),
        "curve": {
            "precision": np.round(curve.precision[shown], 4).tolist(),
            "recall": np.round(curve.recall[shown], 4).tolist(),
        },
    }


def draw(summary: dict[str, Any], path: Path) -> None:
    """Draw the curves, and the agents' success over average precision."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for size in SIZES:
        offline, success = summary["offline"][size], summary["agents"][size]["success"]
        (line,) = left.plot(*(offline["curve"][end] for end in ("recall", "precision")), label=size)
        mark = functools.partial(
            right.errorbar, fmt="o", capsize=3, color=line.get_color(), label=size
        )
        area = offline["average_precision"]
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
        title=f"online; rank correlation {summary['rank_correlation']:.2f}",
        ylim=(0, 1.02),
    )
    left.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(
        __doc__, "paper_scaling", space=space, summarise=summarise, draw=draw, seeds=5, steps=80_000
    )
