"""Should prompts be verbs or success states? The paper's figure 5.

    python tune_experiments/paper_templates.py

In the paper, prompts that describe the success state ("Screenshot of X on
Android") beat verbs ("Open X"). This experiment compares templates for the same
goals: offline, by average precision on one fixed set of labelled frames; and
online, by the success of the agents that each template paid, with the β that
has its best F1 on these frames. The shipped CLIP was trained on success states
alone, so it cannot know the verbs. A CLIP trained on web images knows some.

The full setting has 4 templates and 5 seeds. The script writes
docs/findings/paper_templates.json and .png.
"""

import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from paper_finding import LIFT, finding, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.sweep import SweepResults

NOTHING = "the agent is carrying nothing"
PROMPTS = ("the agent is carrying {}", "carrying {}", "{}", "pick up {}")


@functools.cache
def rewards() -> dict[str, dict[str, Any]]:
    """Return the keys of ``vlm_reward`` in which the templates differ, by prompt."""
    return {
        prompt: LIFT.at_best_f1(
            templates=[{"goal": "pick up {}", "prompt": prompt, "nothing": NOTHING}]
        )
        for prompt in PROMPTS
    }


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space: the task with each template, and one pool for all."""
    base = LIFT.space(seed, steps, serving={"pool_name": "paper-templates"})
    each = [{**base["vlm_reward"], **reward} for reward in rewards().values()]
    return {**base, "vlm_reward": tune.grid_search(each)}


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the offline figures of each template, and the measures of its agents."""
    agents = over_seeds(rows_of(results), lambda row: row["vlm_reward"]["templates"][0]["prompt"])
    return {
        prompt: {
            "threshold": reward["threshold"],
            "offline": figures(LIFT.score(**reward)).to_dict(),
            "agents": agents[prompt],
        }
        for prompt, reward in rewards().items()
    }


def draw(summary: dict[str, Any], path: Path) -> None:
    """Draw average precision and success of each template, with a dot for each agent."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for place, row in enumerate(summary.values()):
        area, success = row["offline"]["average_precision"], row["agents"]["success"]
        ends = [[area["value"] - area["low"]], [area["high"] - area["value"]]]
        axes.bar(place - 0.2, area["value"], 0.38, color="C0", yerr=ends, capsize=4)
        axes.bar(place + 0.2, success["mean"], 0.38, color="C1")
        axes.plot([place + 0.2] * len(success["each"]), success["each"], "k.")
    axes.set_xticks(range(len(summary)), summary, fontsize=9)
    axes.set(ylim=(0, 1.05), title="one dot for each agent")
    axes.legend(axes.patches[:2], ["average precision, offline", "agents' success"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(
        __doc__,
        "paper_templates",
        space=space,
        summarise=summarise,
        draw=draw,
        seeds=5,
        steps=80_000,
    )
