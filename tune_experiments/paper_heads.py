"""The paper's head, or vlmrm's? And what are the negatives worth? Same CLIP, same task.

    python tune_experiments/paper_heads.py

Agents in the quickstart's task, paid by the paper's softmax (arXiv 2312.09187) with and without
"none of these" among the negatives, and with three other goals of 17, drawn once as in the paper or
anew each episode; and by vlmrm's cosine and goal-baseline (arXiv 2310.12921): as vlmrm pays them,
each step its score, and with a threshold, the one with the best F1 on labelled frames. As in vlmrm,
only the time limit or a wrong thing ends an episode, since a reward that pays each step its score
pays longest who never succeeds.

The full setting: 8 rewards, 3 seeds. docs/findings/paper_heads.json and .png are what it leaves.
"""

import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from numbered_goals import numbered
from paper_finding import CLIPS, at_best_f1, finding, lift, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import SweepResults

CLIP = str(CLIPS / "l")
POOL = "paper-heads"
NOTHING = "the agent is carrying nothing"
WITHOUT = [{"goal": "pick up {}", "prompt": "the agent is carrying {}"}]
COSINE = {"head": "cosine"}
BASELINE = {"head": "goal_baseline", "baseline": NOTHING}
ANEW = "softmax, 3 of 17 anew each episode"
REWARDS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "softmax without none of these": {"templates": WITHOUT},
    "softmax, 3 of 17 drawn once": {"num_negatives": 3},
    ANEW: {},
    "cosine, best threshold": COSINE,
    "goal-baseline, best threshold": BASELINE,
    "cosine each step": {**COSINE, "threshold": None},
    "goal-baseline each step": {**BASELINE, "threshold": None},
}


@functools.cache
def rewards() -> dict[str, dict[str, Any]]:
    """Return the keys of ``vlm_reward`` that each reward has for itself."""
    told = {name: {"encoder": CLIP, **changes} for name, changes in REWARDS.items()}
    for name in told:
        if "best" in name:
            told[name] = at_best_f1(**told[name])
    goals = Experiment.model_validate(lift(0, 1)).vlm_reward.goal_set
    told[ANEW]["goals"] = numbered(goals, draws=16, negatives=3, nothing=NOTHING)
    return told


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the task with each reward and one pool, in episodes that success does not end."""
    base = lift(seed, steps, serving={"pool_name": POOL})
    room = {**base["environment"]["env_config"], "end_on_success": False}
    each = [{**base["vlm_reward"], **its} for its in rewards().values()]
    return {
        **base,
        "environment": {"env": "numbered_goals:NumberedGoals-v0", "env_config": room},
        # Draws an episode's goal; each is as likely as another, whatever the signal says.
        "curriculum": {"kind": "uniform", "signal": "ground_truth_success"},
        "vlm_reward": tune.grid_search(each),
    }


def tell(results: list[SweepResults]) -> dict[str, Any]:
    """Return each reward's agents, and its threshold."""
    own = [
        lift(0, 1, serving={"pool_name": POOL}, **its)["vlm_reward"] for its in rewards().values()
    ]
    agents = over_seeds(rows_of(results), lambda row: [*REWARDS][own.index(row["vlm_reward"])])
    return {
        name: {"threshold": its["threshold"], "agents": agents[name]}
        for name, its in zip(REWARDS, own, strict=True)
    }


def draw(told: dict[str, Any], path: Path) -> None:
    """Draw a bar for each reward."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for place, its in enumerate(reversed(told.values())):
        success = its["agents"]["success"]
        mean, low, high = (success[end] for end in ("mean", "low", "high"))
        ends = None if low is None else [[mean - low], [high - mean]]
        axes.barh(place, mean, 0.7, xerr=ends, capsize=4)
        axes.plot(success["each"], [place] * len(success["each"]), "k.", markersize=4)
    axes.set_yticks(range(len(told)), [*reversed(told)], fontsize=9)
    axes.set(xlim=(0, 1.02), xlabel="agents' success by ground truth")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(__doc__, "paper_heads", space=space, tell=tell, draw=draw, seeds=3, steps=80_000)
