"""Which head trains better agents, the paper's or vlmrm's? With which negatives?

    python tune_experiments/paper_heads.py

All agents have the same CLIP and the quickstart's task; their rewards differ.
The paper's softmax (arXiv 2312.09187) pays with and without "none of these"
among the negatives, and with three of the 17 other goals as negatives, drawn
once as in the paper or anew in each episode. vlmrm's cosine and goal-baseline
heads (arXiv 2310.12921) pay their score at each step, as in vlmrm, or use the
threshold with the best F1 on labelled frames. As in vlmrm, success does not end
an episode; the time limit and picking up a wrong thing do. Otherwise a reward
that pays a score at each step would pay most to an agent that never succeeds.

The full setting has 8 rewards and 3 seeds. The script writes
docs/findings/paper_heads.json and .png.
"""

import functools
from pathlib import Path
from typing import Any

from numbered_goals import numbered
from paper_finding import CLIPS, LIFT, draw_success, finding, over_seeds, rows_of
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
    """Return the keys of ``vlm_reward`` in which the rewards differ, by reward."""
    found = {name: {"encoder": CLIP, **changes} for name, changes in REWARDS.items()}
    for name in found:
        if "best" in name:
            found[name] = LIFT.at_best_f1(**found[name])
    goals = Experiment.model_validate(LIFT.space(0, 1)).vlm_reward.goal_set
    found[ANEW]["goals"] = numbered(goals, draws=16, negatives=3, nothing=NOTHING)
    return found


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space: each reward, one pool, and episodes that success does not end."""
    base = LIFT.space(seed, steps, serving={"pool_name": POOL})
    room = {**base["environment"]["env_config"], "end_on_success": False}
    each = [{**base["vlm_reward"], **reward} for reward in rewards().values()]
    return {
        **base,
        "environment": {"env": "numbered_goals:NumberedGoals-v0", "env_config": room},
        # Draws each episode's goal uniformly, whatever the signal is.
        "curriculum": {"kind": "uniform", "signal": "ground_truth_success"},
        "vlm_reward": tune.grid_search(each),
    }


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the threshold of each reward, and the measures of its agents."""
    sections = [
        LIFT.space(0, 1, serving={"pool_name": POOL}, **reward)["vlm_reward"]
        for reward in rewards().values()
    ]
    agents = over_seeds(rows_of(results), lambda row: [*REWARDS][sections.index(row["vlm_reward"])])
    return {
        name: {"threshold": section["threshold"], "agents": agents[name]}
        for name, section in zip(REWARDS, sections, strict=True)
    }


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw a bar for each reward."""
    draw_success({name: row["agents"] for name, row in figures.items()}, path, height=4)


if __name__ == "__main__":
    finding(
        __doc__, "paper_heads", space=space, summarise=summarise, draw=draw, seeds=3, steps=80_000
    )
