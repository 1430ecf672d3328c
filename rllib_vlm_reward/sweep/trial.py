"""A Tune trainable that trains an experiment, any of whose settings may be searched."""

import dataclasses
from pathlib import Path
from typing import Any

import pydantic
from ray import tune

from rllib_vlm_reward.connectors.pipeline import set_configured_lr
from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.freed_memory import keep_freed_memory
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.run.agents_evaluation import evaluate_agents
from rllib_vlm_reward.run.evaluator import Evaluator
from rllib_vlm_reward.run.progress import (
    FIGURES,
    Progress,
    iterate,
    read_progress,
    write_progress,
)
from rllib_vlm_reward.sweep.resources import trial_resources

__all__ = ["REPORTS", "ExperimentTrial"]

REPORTS = 5
"""Number of reports of a trial until its ``stop``; a scheduler may stop it at each."""


class ExperimentTrial(tune.Trainable):  # type: ignore[misc]
    """Trains an experiment as ``rllib-vlm-reward train`` does, and reports its objective.

    Tune's ``param_space`` is the mapping of an experiment's YAML, with search spaces anywhere in
    it; a trial's ``config`` is an experiment without search spaces. With
    ``vlm_reward.serving.pool_name`` all trials share the pool of that name. Start it before the
    search: see :meth:`.RewardPool.start`.

    A report holds ``objective``; larger is better. It is the success by ground truth over
    ``evaluation_episodes``, on the held-out goals if there are any, else on those of training. If
    the env reports no success, it is the mean return that the VLM paid; then do not search keys of
    the reward, since the most generous reward would win. A report also holds

    * ``ground_truth_success``, ``vlm_return_mean``, ``ground_truth_return_mean`` and
      ``false_positives_per_episode`` of the same episodes;
    * ``goal_blind_success``: the success when the policy is shown wrong goals;
    * ``VLM_reward``: the objective and these figures again, where TensorBoard shows them first;
    * ``env_steps`` and ``wall_seconds`` (s);
    * ``training``: the means of the training episodes;
    * ``curriculum``: the curriculum's figures by family, if there is one;
    * ``agents``: the figures by agent, if there are several agents.

    Example:
        >>> from ray import tune
        >>> experiment = Experiment.from_file("quickstart").to_dict()
        >>> space = {**experiment, "training": {"lr": tune.loguniform(1e-4, 1e-2)}}
        >>> tuner = tune.Tuner(ExperimentTrial, param_space=space)
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Build the algorithm (Tune's hook)."""
        keep_freed_memory()  # of the learner, which is in this process
        self._experiment = Experiment.model_validate(config)
        self._algorithm = self._experiment.to_algorithm_config().build_algo()
        self._evaluator: Evaluator | None = None
        if not self._algorithm.config.is_multi_agent:
            episodes = self._experiment.evaluation_episodes
            self._evaluator = Evaluator(self._algorithm, episodes=episodes)
        self._history: list[Progress] = []

    def step(self) -> dict[str, Any]:
        """Train until the next report is due, evaluate, and report (Tune's hook)."""
        stop = self._experiment.stop
        every = -(-stop.env_steps // REPORTS)
        due = (self._env_steps // every + 1) * every
        result: dict[str, Any] = {}
        while self._env_steps < due and not self._is_over():
            before = self._history[-1] if self._history else None
            progress, result = iterate(self._algorithm, before)
            self._history.append(progress)
        return self._report(result)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the algorithm and the progress (Tune's hook)."""
        folder = Path(checkpoint_dir).resolve()
        self._algorithm.save_to_path(str(folder / "algorithm"))
        write_progress(folder / "progress.jsonl", self._history)

    def load_checkpoint(self, checkpoint: str) -> None:
        """Restore the state of another trial, or of this one (Tune's hook).

        The configuration stays that of this trial: when population-based training copies a
        better trial, the mutated settings apply, which ``vlm_reward.may_change`` must allow.
        """
        folder = Path(checkpoint).resolve()
        self._algorithm.restore_from_path(str(folder / "algorithm"))
        self._algorithm.learner_group.foreach_learner(set_configured_lr)
        self._history = read_progress(folder / "progress.jsonl")

    def cleanup(self) -> None:
        """Stop the algorithm (Tune's hook)."""
        if self._evaluator is not None:
            self._evaluator.close()
        self._algorithm.stop()

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return the resources of a trial, with those of its reward actors (Tune's hook).

        Invalid settings, which a draw may give, request one CPU: :meth:`setup` then fails in that
        trial alone, whereas an error here would end the search.
        """
        try:
            return trial_resources(Experiment.model_validate(config).to_algorithm_config())
        except (pydantic.ValidationError, *ERRORS):
            return tune.PlacementGroupFactory([{"CPU": 1.0}])

    @property
    def _env_steps(self) -> int:
        return self._history[-1].env_steps if self._history else 0

    def _is_over(self) -> bool:
        return bool(self._history) and self._experiment.stop.is_reached(self._history[-1])

    def _report(self, result: dict[str, Any]) -> dict[str, Any]:
        last = self._history[-1]
        evaluated = self._evaluate()
        success = evaluated[names.GROUND_TRUTH_SUCCESS]
        objective = evaluated[names.VLM_RETURN] if success is None else success
        first = {name: value for name, value in evaluated.items() if isinstance(value, float)}
        report = {
            "objective": objective,
            **evaluated,
            names.FIRST_GROUP: {"objective": objective, **first},
            "env_steps": last.env_steps,
            "wall_seconds": last.wall_seconds,
            "training": dataclasses.asdict(dataclasses.replace(last, curriculum=None)),
            "curriculum": result.get(names.CURRICULUM),
            "done": self._is_over(),
        }
        return {key: value for key, value in report.items() if value is not None}

    def _evaluate(self) -> dict[str, Any]:
        """Return the figures of the current policy; for several agents, those of all together."""
        if self._evaluator is None:
            outcome = evaluate_agents(self._algorithm)
            return {**outcome.together, "agents": outcome.agents, "goals": "of training"}
        episodes = self._experiment.evaluation_episodes
        held_out = self._evaluator.held_out(episodes)
        played = held_out or self._evaluator.trained(episodes)
        blind = self._evaluator.goal_blind(episodes, held_out=held_out is not None)
        return {
            **{name: getattr(played, name) for name in FIGURES},
            "goal_blind_success": blind.ground_truth_success if blind else None,
            "goals": "held out" if held_out else "of training",
        }
