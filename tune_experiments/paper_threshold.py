"""Which hurt the agent more, false positives or false negatives?

    python tune_experiments/paper_threshold.py

An imperfect CLIP (size m of tune_experiments/paper_clips/, made by
paper_family.py) pays agents in the quickstart's task, with a different β for
each. The script compares their success by ground truth with two errors of the
same reward on one fixed set of labelled frames: the false positives in an
episode, and the share of the episodes with a success in which none fires. BiMI
(arXiv 2409.15922) finds that false positives hurt more.

The full setting has 6 thresholds and 3 seeds. The script writes
docs/findings/paper_threshold.json and .png.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from paper_finding import CLIPS, LIFT, finding, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.sweep import SweepResults

CLIP = str(CLIPS / "m")
THRESHOLDS = (0.02, 0.1, 0.3, 0.5, 0.8, 0.95)


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space: the task with each threshold, and one pool for all."""
    return LIFT.space(
        seed,
        steps,
        encoder=CLIP,
        threshold=tune.grid_search([*THRESHOLDS]),
        serving={"pool_name": "paper-threshold"},
    )


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the offline figures at each threshold, and the measures of its agents."""
    agents = over_seeds(rows_of(results), lambda row: str(row["vlm_reward.threshold"]))
    return {
        str(threshold): {
            "offline": figures(LIFT.score(encoder=CLIP, threshold=threshold)).to_dict(),
            "agents": agents[str(threshold)],
        }
        for threshold in THRESHOLDS
    }


def draw(summary: dict[str, Any], path: Path) -> None:
    """Draw success, and both kinds of error, at each β."""
    figure, (above, below) = plt.subplots(
        2, figsize=(7, 6), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    agents = [row["agents"] for row in summary.values()]
    above.plot([*summary], [each["success"]["mean"] for each in agents], marker="o")
    for threshold, each in zip(summary, agents, strict=True):
        above.plot([threshold] * len(each["success"]["each"]), each["success"]["each"], "k.")
    above.set(ylabel="agents' success by ground truth", ylim=(0, 1.02))
    above.set_title("one dot for each agent")
    offline = [row["offline"] for row in summary.values()]
    for values, label in (
        ([each["false_positives"]["value"] for each in offline], "false positives per episode"),
        (
            [each["false_positives"]["mean"] for each in agents],
            "the same, for the agents' episodes",
        ),
        (
            [each["missed_episodes"]["value"] for each in offline],
            "episodes whose success is missed",
        ),
    ):
        below.plot([*summary], values, marker="o", label=label)
    below.set(xlabel="β")
    below.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(
        __doc__,
        "paper_threshold",
        space=space,
        summarise=summarise,
        draw=draw,
        seeds=3,
        steps=80_000,
    )
