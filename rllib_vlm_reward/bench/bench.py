"""Measures a load, or a run, and returns where the time goes."""

from collections.abc import Callable

from rllib_vlm_reward.bench.breakdown import Breakdown, break_down
from rllib_vlm_reward.bench.iteration import measure_iteration
from rllib_vlm_reward.bench.served import Load, measure_served
from rllib_vlm_reward.plugin import reward_of
from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.serving.deployment import joined_cluster

__all__ = ["bench_load", "bench_run"]

Report = Callable[[str], None]


def bench_load(load: Load, *, report: Report = lambda _: None) -> Breakdown:
    """Measure how fast this machine serves a load.

    The function uses the Ray that this process is connected to, else the cluster of
    ``RAY_ADDRESS``; if there is neither, it starts Ray and stops it at the end.

    Args:
        load: the load.
        report: called with a line about each measurement before it starts.

    Raises:
        PoolError, CheckpointError, GoalError, RewardError: see :meth:`RewardPool.start`.
    """
    load.reward.expect_one_encoder("bench")
    check_encoder(load.reward.encoder, load.reward.serving.precision)  # before Ray starts
    with joined_cluster():
        report("measuring the CLIP alone, then with clients")
        return break_down(load, measure_served(load), None)


def bench_run(
    experiment: Experiment, *, seconds: float = 5.0, report: Report = lambda _: None
) -> Breakdown:
    """Measure a run: the seconds of its iterations, and the frames/s of its reward.

    Args:
        experiment: the run.
        seconds: duration of each measurement of frames/s.
        report: called with a line about each measurement before it starts.

    Raises:
        ConfigError: see :func:`.measure_iteration`.
        PoolError, CheckpointError, GoalError, RewardError: see :meth:`RewardPool.start`.
    """
    experiment.vlm_reward.expect_one_encoder("bench")
    config = experiment.to_algorithm_config()  # raises its errors before Ray starts
    with joined_cluster():
        report("training a few iterations, with the reward and without")
        iteration = measure_iteration(experiment)
        load = Load(
            reward=reward_of(config).model_copy(update={"serving": {"pool_name": None}}),
            frame=iteration.frame,
            runners=max(1, config.num_env_runners),
            request=config.num_envs_per_env_runner,
            seconds=seconds,
        )
        report("measuring the CLIP alone, then with clients")
        return break_down(load, measure_served(load), iteration)
