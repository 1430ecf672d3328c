"""Plays what a run's folder holds: its checkpoint's policy."""

from pathlib import Path
from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.run.evaluation import Evaluator, Moment
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.loop import OBJECT_STORE_BYTES
from rllib_vlm_reward.serving.deployment import joined_cluster

__all__ = ["watch_checkpoint"]


def watch_checkpoint(
    folder: Path, environment: dict[str, Any], *, episodes: int, seed: int, held_out: bool = False
) -> list[Moment]:
    """Play a trained policy, without exploration, until the env ends each episode.

    Joins the Ray cluster of ``RAY_ADDRESS`` or starts a local one.

    Args:
        folder: of a run, with ``config.yaml`` and ``checkpoint/``.
        environment: an experiment's ``environment``, where the policy is played.
        episodes: how many.
        seed: of the layouts.
        held_out: pose the goals that are held out of the run's training.

    Returns:
        Every frame of the episodes, in order; where the env is a gymnasium id and offers
        ``steps_to_go()``, its infos hold that too.

    Raises:
        GoalError: ``held_out``, but the run cannot have such goals posed.

    Example:
        >>> folder, room = Path("runs/quickstart"), {"env": "rllib_vlm_reward/Lift-v0"}
        >>> watch_checkpoint(folder, room, episodes=1, seed=0)[0].t  # doctest: +SKIP
        1
    """
    experiment = Experiment.from_file(folder / "config.yaml")
    if held_out and (experiment.curriculum is None or not experiment.vlm_reward.evaluation_goals):
        raise GoalError(
            f"{folder}: held out goals need evaluation_goals and a curriculum, which poses them, "
            "but the run lacks one. Choose another player, or play with the goals of training."
        )
    config = _config(experiment, environment, seed)
    with joined_cluster(include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES):
        checkpoint = str((folder / "checkpoint").resolve())
        algorithm = Algorithm.from_checkpoint(checkpoint, config=config)
        try:
            evaluator = Evaluator(algorithm)
            try:
                return evaluator.watch(episodes, held_out=held_out)
            finally:
                evaluator.close()
        finally:
            algorithm.stop()


def _config(experiment: Experiment, environment: dict[str, Any], seed: int) -> AlgorithmConfig:
    """Return the run's configuration, in which nothing but the env ends an episode."""
    every_frame = {"scored_steps": "all", "early_end": False, "may_change": True}
    config = experiment.model_copy(
        update={
            "environment": environment,
            "seed": seed,
            "env_runners": {
                **experiment.env_runners,
                "num_env_runners": 0,
                "num_envs_per_env_runner": 1,
            },
            "vlm_reward": experiment.vlm_reward.model_copy(update=every_frame),
        }
    ).to_algorithm_config()
    _tell_steps(config)
    return config


class _ToldSteps(gym.Wrapper[Any, Any, Any, Any]):
    """Puts the env's ``steps_to_go()`` into the infos, which is all that RLlib keeps."""

    def step(self, action: Any) -> Any:
        *result, info = self.env.step(action)
        return *result, {**info, "steps_to_go": self.env.get_wrapper_attr("steps_to_go")()}


def _tell_steps(config: AlgorithmConfig) -> None:
    if not isinstance(config.env, str) or config.env not in gym.registry:
        return
    wrappers = [*config.env_config.get("wrappers", ()), _told]
    config.env_config = {**config.env_config, "wrappers": wrappers}


def _told(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return _ToldSteps(env) if env.has_wrapper_attr("steps_to_go") else env
