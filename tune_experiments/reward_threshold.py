"""Which threshold, which temperature, how many negatives? Searches a grid.

    python tune_experiments/reward_threshold.py --quick \\
        --output runs/reward_threshold
    RAY_ADDRESS=auto python tune_experiments/reward_threshold.py \\
        --output /shared/reward_threshold

Every trial of the grid trains to its end. The table shows the success of the
trained agents and their false positives in an episode: an agent finds and
exploits a reward that pays for the wrong thing. With `--optuna`, Optuna
proposes as many trials in place of the grid; it needs the package's extra
`optuna`.

The quick setting is for 2 cores: 6 trials. The other setting is for a cluster:
45 trials, three times each.
"""

from pathlib import Path

from ray import tune
from ray.tune.schedulers import FIFOScheduler

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import Setting, command

CONFIGS = Path(__file__).parent.parent / "configs"


def setting(
    thresholds: list[float],
    temperatures: list[float | None],
    negatives: list[int | None],
    *,
    steps: int,
    num_env_runners: int,
    num_samples: int,
) -> Setting:
    """Return a setting: the quickstart's task with every combination of these values."""
    base = Experiment.from_file(CONFIGS / "quickstart.yaml").to_dict()
    space = {
        **base,
        "seed": tune.randint(0, 1000),
        "env_runners": {"num_env_runners": num_env_runners, "num_envs_per_env_runner": 32},
        "vlm_reward": {
            **base["vlm_reward"],
            "threshold": tune.grid_search(thresholds),
            "num_negatives": tune.grid_search(negatives),
            "head": {"kind": "softmax", "temperature": tune.grid_search(temperatures)},
            "serving": {"pool_name": "reward-threshold", "num_cpus_per_actor": 0},
        },
        "stop": {"env_steps": steps},
        "evaluation_episodes": 50,
    }
    return Setting(space, FIFOScheduler(), num_samples)


def quick() -> Setting:
    """Return the setting for 2 cores."""
    return setting(
        [0.1, 0.5, 0.9], [None], [1, None], steps=60_000, num_env_runners=0, num_samples=1
    )


def cluster() -> Setting:
    """Return the setting for a cluster."""
    return setting(
        [0.1, 0.3, 0.5, 0.7, 0.9],
        [None, 0.03, 0.1],
        [1, 4, None],
        steps=200_000,
        num_env_runners=3,
        num_samples=3,
    )


if __name__ == "__main__":
    command(__doc__, "reward_threshold", quick=quick, cluster=cluster)
