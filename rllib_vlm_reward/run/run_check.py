"""Checks whether a run can start: builds everything and scores one step, without training."""

from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_vlm_reward.connectors.callbacks import callbacks_of
from rllib_vlm_reward.connectors.pipeline import attach_pieces, reward_piece
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredFrame
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.loop import OBJECT_STORE_BYTES
from rllib_vlm_reward.serving.deployment import joined_cluster

__all__ = ["check"]


def check(experiment: Experiment, *, report: Callable[[str], None] = lambda _: None) -> Any:
    """Build an experiment, load its CLIP model, score one step, and stop everything again.

    The check resets and steps the envs of every env runner once, and checks their frames and goals.
    Then the policy steps one more env in this process, and the reward actors score its frame. The
    check trains nothing, and writes no files except RLlib's empty folder in ``~/ray_results``.

    The function joins the Ray cluster of ``RAY_ADDRESS``, or starts a local one that ends with the
    check.

    Args:
        experiment: the settings to check.
        report: called with a line of text before each step.

    Returns:
        A description of the run, to compare with what you intended: ``algorithm``, ``env``,
        ``encoder``, ``goals`` (their number), ``actors`` (a description of each), ``env_runners``
        (their number) and ``scores`` (``goal`` and ``score`` of each frame; empty if
        ``scored_steps`` does not select the first step).

    Raises:
        CheckpointError, ConfigError, FrameError, GoalError, PoolError, RewardError: training cannot
            succeed.
    """
    config = experiment.to_algorithm_config()
    with joined_cluster(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES):
        report("building the algorithm and starting the reward actors")
        algorithm = config.build_algo()
        try:
            report("scoring one step")
            frames = _score_a_step(algorithm)
            return {
                "algorithm": experiment.algorithm,
                "env": str(experiment.environment["env"]),
                "encoder": ", ".join(name for name, *_ in experiment.vlm_reward.encoders),
                "goals": len(experiment.vlm_reward.goal_set),
                "env_runners": algorithm.config.num_env_runners,
                "actors": reward_piece(algorithm.env_runner).pool.describe(),
                "scores": [{"goal": frame.goal, "score": frame.score} for frame in frames],
            }
        finally:
            algorithm.stop()


def _score_a_step(algorithm: Algorithm) -> list[ScoredFrame]:
    """Let the policy step one env in this process, where errors are raised at once."""
    config = algorithm.config.copy(copy_frozen=False)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    config.freeze()
    kind = MultiAgentEnvRunner if config.is_multi_agent else SingleAgentEnvRunner
    runner = kind(config=config, worker_index=0)
    try:
        driver_piece, piece = reward_piece(algorithm.env_runner), reward_piece(runner)
        attach_pieces(
            runner,
            driver_piece.pool.name,
            driver_piece.run,
            precisions=callbacks_of(algorithm).precisions,
            evaluates=True,
        )
        recorder = Recorder()
        piece.record(recorder)
        runner.sample(num_timesteps=1, explore=False)
        callbacks_of(algorithm).raise_failures()  # the errors that the piece reported
        return recorder.frames
    finally:
        runner.stop()
