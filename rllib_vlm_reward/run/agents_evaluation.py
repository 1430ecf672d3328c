"""Evaluates several agents that were trained together, with RLlib's own evaluation."""

import dataclasses
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.run.progress import Figures, figures_of

__all__ = ["AgentsOutcome", "evaluate_agents"]


@dataclasses.dataclass(frozen=True, slots=True)
class AgentsOutcome:
    """The means of one evaluation, over the last 100 episodes of each evaluation env runner.

    Attributes:
        together: the figures over the episodes of all agents.
        agents: the figures of each agent, by its name.
        episodes: number of episodes of the env.
        result: RLlib's evaluation result, for TensorBoard.
    """

    together: Figures
    agents: dict[str, Figures]
    episodes: int
    result: dict[str, Any]


def evaluate_agents(algorithm: Algorithm) -> AgentsOutcome:
    """Evaluate the present policies on RLlib's evaluation env runners.

    Args:
        algorithm: a multi-agent algorithm. Its ``evaluation`` settings say how many episodes are
            played, and whether with exploration, see :class:`.Experiment`.

    Raises:
        RewardError: no episode ended.
    """
    result = algorithm.evaluate()
    runners = result.get("env_runners", {})
    episodes = int(runners.get("num_episodes", 0))
    if episodes == 0:
        raise RewardError(
            "evaluation: no episode ended, expected "
            f"{algorithm.config.evaluation_duration} {algorithm.config.evaluation_duration_unit}. "
            "Raise evaluation_sample_timeout_s "
            f"({algorithm.config.evaluation_sample_timeout_s:g} s) under evaluation in the run's "
            "YAML, or make the env end its episodes earlier."
        )
    together, agents = figures_of(runners)
    return AgentsOutcome(together, agents, episodes, result)
