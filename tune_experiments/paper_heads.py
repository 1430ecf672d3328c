"""The paper's head, or vlmrm's? And what are the negatives worth? Same CLIP, same task.

    python tune_experiments/paper_heads.py

Agents in the quickstart's task, paid by the paper's softmax (arXiv 2312.09187) with and without
"none of these" among the negatives and with three of 17, and by vlmrm's cosine and goal-baseline
(arXiv 2310.12921): as vlmrm pays them, each step its score, and with a threshold, the one with the
best F1 on labelled frames. As in vlmrm, only the time limit or a wrong thing ends an episode, since
a reward that pays each step its score pays longest who never succeeds.

The full setting: 7 rewards, 3 seeds. docs/findings/paper_heads.json and .png are what it leaves.
"""

import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from paper_finding import finding, lift, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.evaluation.collect import collect
from rllib_vlm_reward.evaluation.judged import judge
from rllib_vlm_reward.sweep import SweepResults

CLIP = str(Path(__file__).parent.resolve() / "paper_clips" / "l")
NOTHING = "the agent is carrying nothing"
WITHOUT = [{"goal": "pick up {}", "prompt": "the agent is carrying {}"}]
COSINE, BASELINE = {"head": "cosine"}, {"head": "goal_baseline", "baseline": NOTHING}
REWARDS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "softmax without none of these": {"templates": WITHOUT},
    "softmax, 3 negatives of 17": {"num_negatives": 3},
    "cosine, best threshold": {**COSINE, "threshold": "best"},
    "goal-baseline, best threshold": {**BASELINE, "threshold": "best"},
    "cosine each step": {**COSINE, "threshold": None},
    "goal-baseline each step": {**BASELINE, "threshold": None},
}
EPISODES = 300  # of each player


@functools.cache
def rewards() -> dict[str, dict[str, Any]]:
    """Return `vlm_reward` of each, best thresholds chosen on labelled frames."""
    base = lift(0, 1, encoder=CLIP)
    frames = collect(
        Experiment.model_validate(base), players=("random", "expert"), episodes=EPISODES, seed=0
    )
    told = {}
    for name, changes in REWARDS.items():
        asked = {**base["vlm_reward"], **changes}
        if asked["threshold"] == "best":
            free = {**base, "vlm_reward": {**asked, "threshold": None}}
            judged = judge(Experiment.model_validate(free).vlm_reward, frames)
            asked["threshold"] = round(judged.threshold, 4)  # of the best F1
        told[name] = asked
    return told


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the task with each reward, in episodes that success does not end."""
    base = lift(seed, steps)
    environment = base["environment"]
    config = {**environment["env_config"], "end_on_success": False}
    return {
        **base,
        "environment": {**environment, "env_config": config},
        "vlm_reward": tune.grid_search([*rewards().values()]),
    }


def tell(results: list[SweepResults]) -> dict[str, Any]:
    """Return each reward's agents, and its threshold."""
    names = {str(asked): name for name, asked in rewards().items()}
    agents = over_seeds(rows_of(results), lambda row: names[str(row["vlm_reward"])])
    return {
        name: {"threshold": asked["threshold"], "agents": agents[name]}
        for name, asked in rewards().items()
    }


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw a bar for each reward."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for place, its in enumerate(reversed(figures.values())):
        success = its["agents"]["success"]
        mean, low, high = (success[end] for end in ("mean", "low", "high"))
        ends = None if low is None else [[mean - low], [high - mean]]
        axes.barh(place, mean, 0.7, xerr=ends, capsize=4)
        axes.plot(success["each"], [place] * len(success["each"]), "k.", markersize=4)
    axes.set_yticks(range(len(figures)), [*reversed(figures)], fontsize=9)
    axes.set(xlim=(0, 1.02), xlabel="agents' success by ground truth")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(__doc__, "paper_heads", space=space, tell=tell, draw=draw, seeds=3, steps=80_000)
