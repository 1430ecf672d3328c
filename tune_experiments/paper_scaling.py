"""Does a CLIP with a better offline curve train a better agent? Figure 4.

    python tune_experiments/paper_scaling.py

The left chart has the curve of precision and recall over β of each CLIP in
tune_experiments/paper_clips/ (made by paper_family.py), on one fixed set of
labelled frames: random play and BabyAI's bot in the task of the quickstart. The
right chart has the success by ground truth of agents that each CLIP alone paid,
with the β that has the CLIP's best F1 on these frames, and the rank correlation
of this success with the average precision of the left chart. house_scaling.py
does the same in the house.

The full setting has 5 sizes and 5 seeds. The script writes
docs/findings/paper_scaling.json and .png.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from paper_finding import CLIPS, LIFT, Task, finding, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.metrics.precision_recall import precision_recall
from rllib_vlm_reward.metrics.ranking import rank_correlation
from rllib_vlm_reward.sweep import SweepResults

SIZES = ("xs", "s", "m", "l", "xl")
TRUTH = "ground truth"


@dataclasses.dataclass(frozen=True)
class Scaling:
    """The experiment in one world.

    Attributes:
        task: what the agents are trained for, and the labelled frames.
        clips: the folder with a CLIP of each size.
        ceiling: what must change in the task's ``environment`` for agents that ground truth pays;
            None leaves them out.
    """

    task: Task
    clips: Path
    ceiling: tuple[tuple[str, Any], ...] | None = None

    def space(self, seed: int, steps: int) -> dict[str, Any]:
        """Return the search space: the task with each reward, without a shared pool."""
        base = self.task.space(seed, steps)
        each = [{**base["vlm_reward"], **reward} for reward in self.rewards().values()]
        if self.ceiling is None:
            return {**base, "vlm_reward": tune.grid_search(each)}
        # The cosine of no frame exceeds β, so that the env's own reward is the only one.
        never = {"head": "cosine", "threshold": 0.9999, "env_reward_weight": 1.0}
        each.append({**base["vlm_reward"], "encoder": str(self.clips / SIZES[0]), **never})
        at_success = {**base["environment"]["env_config"], **dict(self.ceiling)}
        environments = base["environment"], {**base["environment"], "env_config": at_success}
        return {
            **base,
            "vlm_reward": tune.grid_search(each),
            "environment": tune.sample_from(
                lambda spec: environments[spec.config.vlm_reward.get("env_reward_weight", 0) > 0]
            ),
        }

    @functools.cache  # noqa: B019, since there is one for each script
    def rewards(self) -> dict[str, dict[str, Any]]:
        """Return the keys of ``vlm_reward`` in which the sizes differ, by size."""
        return {size: self.task.at_best_f1(encoder=str(self.clips / size)) for size in SIZES}

    def summarise(self, results: list[SweepResults]) -> dict[str, Any]:
        """Return the offline curves, the agents' measures, and the rank correlation of both."""
        curves = {size: self._offline(size) for size in SIZES}
        rows = rows_of(results)
        agents = over_seeds(rows, paid_by)
        sized = [row for row in rows if paid_by(row) in SIZES]
        precisions = [curves[paid_by(row)]["average_precision"]["value"] for row in sized]
        frames = self.task.labelled()
        return {
            "offline": curves,
            "agents": {name: agents[name] for name in (*SIZES, TRUTH) if name in agents},
            "frames": len(frames),
            "successes": int(frames.labels.sum()),
            "rank_correlation": rank_correlation(
                np.array(precisions), np.array([row["ground_truth_success"] for row in sized])
            ),
        }

    def _offline(self, size: str) -> dict[str, Any]:
        """Return a size's β, its figures and its curve over β."""
        scored = self.task.score(**self.rewards()[size])
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


def paid_by(row: dict[str, Any]) -> str:
    """Return the size of the CLIP that paid an agent, or that it was ground truth."""
    reward = row["vlm_reward"]
    return TRUTH if reward.get("env_reward_weight") else Path(reward["encoder"]).name


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
    if TRUTH in summary["agents"]:
        ceiling = summary["agents"][TRUTH]["success"]["mean"]
        right.axhline(ceiling, color="black", ls="--", label=f"paid by {TRUTH}")
        right.legend()
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


ROOMS = Scaling(LIFT, CLIPS)
space = ROOMS.space

if __name__ == "__main__":
    finding(
        __doc__,
        "paper_scaling",
        space=space,
        summarise=ROOMS.summarise,
        draw=draw,
        seeds=5,
        steps=80_000,
    )
