"""Verbs or success states? The same goals through different templates: the paper's figure 5.

    python tune_experiments/paper_templates.py

The paper's prompts that describe the success state ("Screenshot of X on Android") beat verbs ("Open
X"). Here each template is judged offline, by average precision on one fixed set of labelled frames,
and online, by success of the agents that it paid, with the β of its best F1 on those frames. The
CLIP that ships was trained on success states alone: that it does not know the verbs is what a
web-trained CLIP shares with it only in part.

The full setting: 4 templates, 5 seeds. docs/findings/paper_templates.json and .png are what it
leaves.
"""

import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from paper_finding import at_best_f1, finding, judge_lift, lift, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward.evaluation.figures import figures
from rllib_vlm_reward.sweep import SweepResults

NOTHING = "the agent is carrying nothing"
PROMPTS = ("the agent is carrying {}", "carrying {}", "{}", "pick up {}")


@functools.cache
def rewards() -> dict[str, dict[str, Any]]:
    """Return the keys of ``vlm_reward`` that each prompt has for itself."""
    return {
        prompt: at_best_f1(templates=[{"goal": "pick up {}", "prompt": prompt, "nothing": NOTHING}])
        for prompt in PROMPTS
    }


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the task with each template, and one pool for all."""
    base = lift(seed, steps, serving={"pool_name": "paper-templates"})
    each = [{**base["vlm_reward"], **its} for its in rewards().values()]
    return {**base, "vlm_reward": tune.grid_search(each)}


def tell(results: list[SweepResults]) -> dict[str, Any]:
    """Return each template's average precision, and its agents."""
    agents = over_seeds(rows_of(results), lambda row: row["vlm_reward"]["templates"][0]["prompt"])
    return {
        prompt: {
            "threshold": its["threshold"],
            "offline": figures(judge_lift(**its)).to_dict(),
            "agents": agents[prompt],
        }
        for prompt, its in rewards().items()
    }


def draw(told: dict[str, Any], path: Path) -> None:
    """Draw average precision and success of each template, and a dot for each agent."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for place, its in enumerate(told.values()):
        area, success = its["offline"]["average_precision"], its["agents"]["success"]
        ends = [[area["value"] - area["low"]], [area["high"] - area["value"]]]
        axes.bar(place - 0.2, area["value"], 0.38, color="C0", yerr=ends, capsize=4)
        axes.bar(place + 0.2, success["mean"], 0.38, color="C1")
        axes.plot([place + 0.2] * len(success["each"]), success["each"], "k.")
    axes.set_xticks(range(len(told)), told, fontsize=9)
    axes.set(ylim=(0, 1.05), title="a dot an agent")
    axes.legend(axes.patches[:2], ["average precision, offline", "agents' success"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(__doc__, "paper_templates", space=space, tell=tell, draw=draw, seeds=5, steps=80_000)
