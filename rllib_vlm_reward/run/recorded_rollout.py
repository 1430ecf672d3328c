"""Records a rollout of a run's policy from its checkpoint."""

from pathlib import Path
from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_vlm_reward.connectors.pipeline import registered_env
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.run.evaluator import Evaluator, Moment
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.loop import OBJECT_STORE_BYTES
from rllib_vlm_reward.serving.deployment import joined_cluster

__all__ = ["record_rollout"]


def record_rollout(
    folder: Path, environment: dict[str, Any], *, episodes: int, seed: int, held_out: bool = False
) -> list[Moment]:
    """Play a trained policy until the env itself ends each episode.

    The policy explores only if the run is evaluated with exploration.

    The function joins the Ray cluster of ``RAY_ADDRESS`` or starts a local one.

    Args:
        folder: output folder of a run, with ``config.yaml`` and ``checkpoint/``.
        environment: the env to play in, in the form of an experiment's ``environment``.
        episodes: number of episodes.
        seed: seed of the env.
        held_out: whether to play with the held-out goals.

    Returns:
        All frames of the episodes, in order. If the env has a method ``steps_to_go()``, each info
        has its result under ``steps_to_go``.

    Raises:
        ConfigError: the run has several agents.
        GoalError: ``held_out`` is set, but the run has no held-out goals or no curriculum.

    Example:
        >>> folder, room = Path("runs/quickstart"), {"env": "rllib_vlm_reward/Lift-v0"}
        >>> record_rollout(folder, room, episodes=1, seed=0)[0].t  # doctest: +SKIP
        1
    """
    experiment = Experiment.from_file(folder / "config.yaml")
    if held_out and (experiment.curriculum is None or not experiment.vlm_reward.evaluation_goals):
        raise GoalError(
            f"{folder}: got a run that lacks evaluation_goals or a curriculum, expected both to "
            "play with held-out goals. Choose another run, or play with the training goals."
        )
    config = _config(experiment, environment, seed)
    with joined_cluster(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES):
        checkpoint = str((folder / "checkpoint").resolve())
        algorithm = Algorithm.from_checkpoint(checkpoint, config=config)
        try:
            evaluator = Evaluator(algorithm)
            try:
                return evaluator.record(episodes, held_out=held_out)
            finally:
                evaluator.close()
        finally:
            algorithm.stop()


def _config(experiment: Experiment, environment: dict[str, Any], seed: int) -> AlgorithmConfig:
    """Return the run's configuration, changed so that only the env ends an episode."""
    every_frame = {
        "frames": {"scored_steps": "all"},
        "early_end": False,
        "may_change": True,
    }
    config = experiment.model_copy(
        update={
            "environment": environment,
            "seed": seed,
            "env_runners": {
                **experiment.env_runners,
                "num_env_runners": 0,
                "num_envs_per_env_runner": 1,
            },
            # Without the rest, which would create evaluation env runners.
            "evaluation": {"evaluation_config": {"explore": experiment.evaluation_explores}},
            "vlm_reward": experiment.vlm_reward.model_copy(update=every_frame),
        }
    ).to_algorithm_config()
    _report_steps_to_go(config)
    return config


def _report_steps_to_go(config: AlgorithmConfig) -> None:
    """Add the result of the env's ``steps_to_go()`` to the infos, which RLlib stores."""
    create = registered_env(config.env)
    if create is None and isinstance(config.env, str):  # RLlib 2.60 passes wrappers to make_vec
        wrappers = [*config.env_config.get("wrappers", ()), _with_steps_to_go]
        config.env_config = {**config.env_config, "wrappers": wrappers}
        return
    make = create or config.env

    class ReportingEnv:
        """Creates the env; RLlib accepts only classes."""

        def __new__(cls, context: Any) -> Any:
            return _with_steps_to_go(make(context))

    config.env = ReportingEnv


class _StepsToGo(gym.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> Any:
        *result, info = self.env.step(action)
        return *result, {**info, "steps_to_go": self.env.get_wrapper_attr("steps_to_go")()}


def _with_steps_to_go(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return _StepsToGo(env) if env.has_wrapper_attr("steps_to_go") else env
