"""Can curriculum and reward change in training? Population-based training.

    python tune_experiments/goal_curriculum_pbt.py --quick \\
        --output runs/goal_curriculum_pbt
    RAY_ADDRESS=auto python tune_experiments/goal_curriculum_pbt.py \\
        --output /shared/pbt

All trials train at the same time, or in turns if there are too few CPUs. At
every other report, the worse trials copy policy, optimiser and curriculum of
the better ones and continue with mutated settings: learning rate, threshold β,
and the exploration of the curriculum. TensorBoard shows the curves of each
trial.

The quick setting is for 2 cores: 4 trials on one family of goals. The other
setting is for a cluster: 16 trials of 2 million steps on three families.
"""

from pathlib import Path

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import REPORTS, Setting, command

CONFIGS = Path(__file__).parent.parent / "configs"
# Lists: a mutation moves to a neighbour. Multiplying could move a value out of its range.
MUTATIONS = {
    "training": {"lr": [1e-4, 3e-4, 6e-4, 1e-3, 2e-3]},
    "vlm_reward": {"threshold": [0.3, 0.4, 0.5, 0.6, 0.7, 0.8]},
    "curriculum": {"explore": [0.05, 0.1, 0.2, 0.4], "low": [0.0, 0.1, 0.2, 0.3]},
}


def setting(config: str, steps: int, num_samples: int, *, num_env_runners: int) -> Setting:
    """Return a setting for a run's YAML, with the mutated values as its search space."""
    base = Experiment.from_file(CONFIGS / config).to_dict()
    start = {
        section: {key: tune.choice(values) for key, values in keys.items()}
        for section, keys in MUTATIONS.items()
    }
    space = {
        **base,
        "seed": tune.randint(0, 1000),
        "env_runners": {"num_env_runners": num_env_runners, "num_envs_per_env_runner": 32},
        "training": {**base["training"], **start["training"]},
        "vlm_reward": {
            **base["vlm_reward"],
            **start["vlm_reward"],
            "may_change": True,
            "serving": {"pool_name": "goal-curriculum-pbt", "num_cpus_per_actor": 0},
        },
        "curriculum": {"kind": "success_window", **start["curriculum"]},
        "stop": {"env_steps": steps},
        "evaluation_episodes": 50,
    }
    scheduler = PopulationBasedTraining(
        time_attr="env_steps",
        # Every other report: on few CPUs, trials take turns, and each turn saves and restores them.
        perturbation_interval=3 * steps // REPORTS // 2,
        hyperparam_mutations=MUTATIONS,
        quantile_fraction=0.5 if num_samples < 8 else 0.25,
    )
    return Setting(space, scheduler, num_samples, takes_searcher=False)


def quick() -> Setting:
    """Return the setting for 2 cores."""
    return setting("quickstart.yaml", 60_000, 4, num_env_runners=0)


def cluster() -> Setting:
    """Return the setting for a cluster."""
    return setting("playroom.yaml", 2_000_000, 16, num_env_runners=7)


if __name__ == "__main__":
    command(__doc__, "goal_curriculum_pbt", quick=quick, cluster=cluster)
