"""Verbs or success states? The same goals through different templates: the paper's figure 5.

    python tune_experiments/paper_templates.py

The paper's prompts that describe the success state ("Screenshot of X on Android") beat verbs ("Open
X"). Here each template is judged offline, by average precision on one fixed set of labelled frames,
and online, by success of the agents that it paid. The CLIP that ships was trained on success states
alone: that it does not know the verbs is what a web-trained CLIP shares with it only in part.

The full setting: 4 templates, 5 seeds. docs/findings/paper_templates.json and .png are what it
leaves.
"""

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from paper_finding import finding, lift, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.judged import judge
from rllib_vlm_reward.metrics.bootstrap import bootstrap
from rllib_vlm_reward.metrics.precision_recall import average_precision
from rllib_vlm_reward.sweep import SweepResults

NOTHING = "the agent is carrying nothing"
PROMPTS = ("the agent is carrying {}", "carrying {}", "{}", "pick up {}")
EPISODES = 300  # of each player


def templates(prompt: str) -> list[dict[str, str]]:
    """Return what `vlm_reward.templates` is for a prompt."""
    return [{"goal": "pick up {}", "prompt": prompt, "nothing": NOTHING}]


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the task with each template, and one pool for all."""
    return lift(
        seed,
        steps,
        templates=tune.grid_search([*map(templates, PROMPTS)]),
        pool_name="paper-templates",
    )


def tell(results: list[SweepResults]) -> dict[str, Any]:
    """Return each template's average precision, and its agents."""
    experiment = Experiment.model_validate(lift(0, 1))
    frames = collect(experiment, players=("random", "expert"), episodes=EPISODES, seed=0)
    agents = over_seeds(rows_of(results), lambda row: row["vlm_reward.templates"][0]["prompt"])
    told = {}
    for prompt in PROMPTS:
        reward = Experiment.model_validate(lift(0, 1, templates=templates(prompt))).vlm_reward
        scores = judge(reward, frames).scores
        area = bootstrap(
            lambda rows, scores=scores: average_precision(scores[rows], frames.labels[rows]),
            frames.episode_indices,
        )
        told[prompt] = {"average_precision": dataclasses.asdict(area), "agents": agents[prompt]}
    return told


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw a pair of bars for each template."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for place, its in enumerate(figures.values()):
        area, success = its["average_precision"], its["agents"]["success"]
        for shift, colour, value, low, high in (
            (-0.2, "C0", area["value"], area["low"], area["high"]),
            (0.2, "C1", success["mean"], success["low"], success["high"]),
        ):
            ends = None if low is None else [[value - low], [high - value]]
            axes.bar(place + shift, value, 0.38, color=colour, yerr=ends, capsize=4)
    axes.set_xticks(range(len(figures)), figures, fontsize=9)
    axes.set(ylim=(0, 1.05), title="average precision offline, and success of the agents")
    axes.legend(axes.patches[:2], ["average precision", "success"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(__doc__, "paper_templates", space=space, tell=tell, draw=draw, seeds=5, steps=80_000)
