"""Do discrete codes help an agent with goals that it never saw?

    python tune_experiments/goal_codes.py

The task is that of held_out_goals.py: of three things, pick up the one that the
goal names; four pairs of colour and kind are held out of training. The policies
differ in the form in which they see their goal: as G groups of L codes, through
a continuous bottleneck with as many parameters, or as the number of the goal
(one-hot), which says nothing about a new goal. Each also learns and is evaluated
with noise on the embedding. The measure is success by ground truth on the
held-out goals. For each code, the script also says how much of the goal's colour
and kind its most informative group holds, in bits (mutual information). There
are only 18 goals, so codes drawn at random hold much of both: compare codes of
one size with each other, not 8 codes with 32.

The full setting has 16 policies and 5 seeds. The script writes
docs/findings/goal_codes.json and .png. It needs the extra [codes].
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import held_out_goals
import matplotlib.pyplot as plt
from paper_finding import finding, over_seeds, rows_of
from ray import tune

from rllib_vlm_reward import Agent, Experiment
from rllib_vlm_reward.sweep import SweepResults, interval

SIZES = [(groups, codes) for groups in (1, 4, 8) for codes in (8, 32)]
CONTINUOUS = 36  # numbers; with 64 in and out, 4,708 parameters, and 4 groups of 32 codes 4,672
NOISE = 0.5
WITH_NOISE = ", noise"


@functools.cache
def policies() -> dict[str, dict[str, Any]]:
    """Return the section ``policy`` of each variant, by its name."""
    base = Experiment.model_validate(held_out_goals.space(1, 1) | {"seed": 0}).vlm_reward
    prompts = [goal.prompt for goal in base.goal_set.goals]
    forms: dict[str, dict[str, Any]] = {
        f"{groups} × {codes}": {"goal_code": {"groups": groups, "codes": codes}}
        for groups, codes in SIZES
    }
    forms["continuous"] = {"continuous": CONTINUOUS}
    forms["one-hot"] = {"one_hot": {"encoder": base.encoder, "prompts": prompts}}
    return {
        name + end: {"module": "shown_goals.ShownGoals", "model_config": {**form, **noise}}
        for name, form in forms.items()
        for end, noise in (("", {}), (WITH_NOISE, {"noise": NOISE}))
    }


def space(seed: int, steps: int) -> dict[str, Any]:
    """Return the search space: each form of the goal, and one pool."""
    base = held_out_goals.space(1, steps)
    serving = {"pool_name": "goal-codes", "num_cpus_per_actor": 0}
    return {
        **base,
        "seed": seed,
        "policy": tune.grid_search([*policies().values()]),
        "vlm_reward": {**base["vlm_reward"], "serving": serving},
    }


def summarise(results: list[SweepResults]) -> dict[str, Any]:
    """Return the measures of each variant's agents, and what its codes say about the goals."""
    names, sections = [*policies()], [*policies().values()]
    rows = [{**row, "name": names[sections.index(row["policy"])]} for row in rows_of(results)]
    agents = over_seeds(rows, lambda row: row["name"])
    figures = {name: {"agents": agents[name]} for name in names}
    folders = {key: path for found in results for key, path in found.checkpoints.items()}
    for name in names:
        if "goal_code" in policies()[name]["model_config"]:
            bits = [code_bits(folders[row["trial_id"]]) for row in rows if row["name"] == name]
            figures[name]["codes"] = {
                key: interval([each[key] for each in bits]) for key in bits[0]
            }
    return figures


def code_bits(checkpoint: Path) -> dict[str, float]:
    """Return what the codes of a trained policy say about all goals of the task.

    Returns:
        ``colour_bits`` and ``kind_bits`` of the group that says most about each, and
        ``distinct_codes``, the number of goals that can be distinguished.
    """
    agent = Agent.load(checkpoint / "algorithm")
    codes = [agent.goal_code(goal) for goal in agent.goals]
    groups = [*zip(*(code.split("-") for code in codes), strict=True)]
    colours, kinds = zip(*(goal.split()[-2:] for goal in agent.goals), strict=True)
    return {
        "colour_bits": max(mutual_information(group, colours) for group in groups),
        "kind_bits": max(mutual_information(group, kinds) for group in groups),
        "distinct_codes": len({*codes}),
    }


def mutual_information(codes: Sequence[str], words: Sequence[str]) -> float:
    """Return how many bits the code of a goal says about a word of it."""
    pairs = [*zip(codes, words, strict=True)]

    def entropy(values: Sequence[Any]) -> float:
        shares = [count / len(values) for count in Counter(values).values()]
        return -sum(share * math.log2(share) for share in shares)

    return entropy(codes) + entropy(words) - entropy(pairs)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Draw two bars for each form of the goal: without and with noise."""
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    forms = [name for name in figures if WITH_NOISE not in name]
    for offset, (end, label) in enumerate((("", "without noise"), (WITH_NOISE, "with noise"))):
        successes = [figures[form + end]["agents"]["success"] for form in forms]
        means = [success["mean"] for success in successes]
        places = [place + 0.4 * offset for place in range(len(forms))]
        axes.bar(places, means, 0.38, label=label)
        for place, success in zip(places, successes, strict=True):
            axes.plot([place] * len(success["each"]), success["each"], "k.", markersize=4)
            if success["low"] is not None:
                axes.vlines(place, success["low"], success["high"], "k")
    axes.set_xticks([place + 0.2 for place in range(len(forms))], forms, fontsize=9)
    axes.set(ylim=(0, 1.02), ylabel="success on held-out goals", xlabel="groups × codes")
    axes.legend(fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    finding(
        __doc__, "goal_codes", space=space, summarise=summarise, draw=draw, seeds=5, steps=150_000
    )
