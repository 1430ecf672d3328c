"""Would a run start? Everything is built, one step is scored, and nothing is left behind."""

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
    """Build an experiment, load its CLIP, score one step of its envs, and take it all down.

    Every env runner's envs are reset and stepped once, which shows whether frames and goals can be
    had; one env more, in this process, is stepped by the policy, and its frame is scored. Nothing
    is trained and no file is written, but for the empty folder of RLlib's in ``~/ray_results``.

    Joins the Ray cluster of ``RAY_ADDRESS`` or starts a local one, which ends with the check.

    Args:
        experiment: what is checked.
        report: called with a line of what is done next.

    Returns:
        what was built, for people to compare with what they meant: ``algorithm``, ``env``,
        ``encoder``, ``goals`` (how many), ``actors`` (what each runs), ``env_runners`` and
        ``scores``: of each frame that the step scored its goal and its score. Empty where
        ``scored_steps`` leaves the first step out.

    Raises:
        CheckpointError, ConfigError, FrameError, GoalError, PoolError, RewardError: training would
            fail.
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
                "encoder": experiment.vlm_reward.encoder,
                "goals": len(experiment.vlm_reward.goal_set),
                "env_runners": algorithm.config.num_env_runners,
                "actors": reward_piece(algorithm.env_runner).pool.describe(),
                "scores": [{"goal": frame.goal, "score": frame.score} for frame in frames],
            }
        finally:
            algorithm.stop()


def _score_a_step(algorithm: Algorithm) -> list[ScoredFrame]:
    """Step one env by the policy, in this process, where an error is raised at once."""
    config = algorithm.config.copy(copy_frozen=False)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    config.freeze()
    kind = MultiAgentEnvRunner if config.is_multi_agent else SingleAgentEnvRunner
    runner = kind(config=config, worker_index=0)
    try:
        own, piece = reward_piece(algorithm.env_runner), reward_piece(runner)
        attach_pieces(runner, own.pool.name, own.run, evaluates=True)
        recorder = Recorder()
        piece.record(recorder)
        runner.sample(num_timesteps=1, explore=False)
        callbacks_of(algorithm).on_evaluate_end()  # raises what the piece reported
        return recorder.frames
    finally:
        runner.stop()
