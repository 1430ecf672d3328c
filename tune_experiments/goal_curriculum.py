"""Which goals, in which order? Searches curriculum, reward and learning rate.

    python tune_experiments/goal_curriculum.py --quick \\
        --output runs/goal_curriculum
    RAY_ADDRESS=auto python tune_experiments/goal_curriculum.py \\
        --output /shared/goal_curriculum

One pool of CLIPs serves all trials. ASHA stops trials whose success on held-out
goals falls behind. The script writes results.csv, results.png and best.yaml,
which `rllib-vlm-reward train` runs; `tensorboard --logdir` compares the trials.
If the search is interrupted, run the same command again to continue. With
`--optuna`, Optuna proposes the trials; it needs the package's extra `optuna`.

The quick setting is for 2 cores and 20 minutes: 8 trials on two families of
goals. The other setting is for a cluster: 200 trials of up to a million steps
on three families, with 8 CPUs each, and a pool with a CLIP on each of 4 GPUs.
"""

from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.sample import Domain

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import REPORTS, Setting, command

CONFIGS = Path(__file__).parent.parent / "configs"
REWARD = {
    "num_negatives": tune.choice([1, 3, 6]),
    "threshold": tune.uniform(0.3, 0.9),
    "head": {"kind": "softmax", "temperature": tune.choice([None, 0.02, 0.05])},
}
HELD_OUT = [("red", "ball"), ("green", "box"), ("blue", "key"), ("purple", "ball")]
CURRICULUM = {
    "kind": tune.choice(["uniform", "staged", "success_window", "learning_progress"]),
    "signal": "vlm_success",
    "window": tune.choice([8, 16, 32]),
    "explore": tune.uniform(0.05, 0.4),
    "promote_at": tune.uniform(0.5, 0.9),
    "low": tune.uniform(0.0, 0.3),
    "high": tune.uniform(0.7, 1.0),
}


def quick() -> Setting:
    """Return the setting for 2 cores: face or pick up a thing; 4 of 18 things are held out."""
    base = Experiment.from_file(CONFIGS / "playroom.yaml").to_dict()
    find, lift = "find", "lift"
    orders = [((find,), (lift,)), ((lift,), (find,)), ((find, lift),)]
    goals = {
        "goals": ["go to the {color} {kind}", "pick up the {color} {kind}"],
        "words": {
            "color": ["red", "green", "blue", "purple", "yellow", "grey"],
            "kind": ["ball", "box", "key"],
        },
        "held_out": {"pairs": HELD_OUT},
    }
    space = {
        **base,
        "environment": {
            "env": "rllib_vlm_reward/Playroom-v0",
            "env_config": {
                "families": [find, lift],
                "room_size": 5,
                "num_objects": 2,
                "max_steps": 20,
                "reserved": [" ".join(pair) for pair in HELD_OUT],
            },
        },
        "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
        "training": {**base["training"], "lr": tune.loguniform(3e-4, 3e-3)},
        "vlm_reward": {
            **base["vlm_reward"],
            **REWARD,
            "templates": templates(base, find, lift),
            "goals": goals,
            "evaluation_goals": [],
            "serving": {"pool_name": "goal-curriculum", "num_cpus_per_actor": 0},
        },
        "curriculum": {**CURRICULUM, "stages": tune.choice(orders)},
        "stop": {"env_steps": 160_000},
        "evaluation_episodes": 100,
    }
    return Setting(space, asha(space["stop"]["env_steps"]), num_samples=8)


def cluster() -> Setting:
    """Return the setting for a cluster: face, pick up or put next to, in any order."""
    base = Experiment.from_file(CONFIGS / "playroom.yaml").to_dict()
    find, lift, place = "find", "lift", "place"
    orders = [
        ((find,), (lift,), (place,)),
        ((lift,), (find,), (place,)),
        ((find, lift), (place,)),
        ((place,), (lift,), (find,)),
    ]
    space = {
        **base,
        "env_runners": {"num_env_runners": 7, "num_envs_per_env_runner": 32},
        "training": {**base["training"], "lr": tune.loguniform(1e-4, 3e-3)},
        "vlm_reward": {
            **base["vlm_reward"],
            **REWARD,
            "templates": templates(base, find, lift, place),
            "serving": {"pool_name": "goal-curriculum", "num_actors": 4, "num_gpus_per_actor": 1},
        },
        "curriculum": {**CURRICULUM, "stages": tune.choice(orders)},
        "stop": {"env_steps": 1_000_000},
        "evaluation_episodes": 100,
    }
    return Setting(space, asha(space["stop"]["env_steps"]), num_samples=200)


def templates(base: dict[str, Any], *families: str) -> Domain:
    """Return a choice: the families' templates with their "nothing" negatives, or without."""
    given = [each for each in base["vlm_reward"]["templates"] if each["family"] in families]
    without = [{key: value for key, value in each.items() if key != "nothing"} for each in given]
    return tune.choice([given, without])


def asha(steps: int) -> ASHAScheduler:
    """Return a scheduler that stops the worse half of the trials at each report but the last."""
    return ASHAScheduler(
        time_attr="env_steps", max_t=2 * steps, grace_period=steps // REPORTS, reduction_factor=2
    )


if __name__ == "__main__":
    command(__doc__, "goal_curriculum", quick=quick, cluster=cluster)
