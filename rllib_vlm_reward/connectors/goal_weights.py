"""Keeps the curriculum with the algorithm, and sends the envs the weights of their goals."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome, make_curriculum
from rllib_vlm_reward.monitoring.metric_names import OUTCOMES, log_item

__all__ = ["GoalWeights", "log_outcomes"]


class GoalWeights(ConnectorV2):  # type: ignore[misc]
    """Carries a curriculum through RLlib: the state of the curriculum is that of this piece.

    The driver's piece observes the outcomes and is what checkpoints hold; the env runners' pieces
    receive its weights, which the :class:`~rllib_vlm_reward.connectors.drawn_goal.DrawnGoal` of
    each sub-env draws with from the next reset on. The piece changes no batch.

    Args:
        config: the reward, whose goals are drawn.
        curriculum: how they are weighted.

    Attributes:
        env: the env runner's vector env. Not a constructor argument, because RLlib pickles these
            into checkpoints.
        curriculum: in the driver's piece alone it is kept up to date.
        weights: with which the training goals are drawn.
        evaluates: whether the env runner's episodes are not for training.
    """

    def __init__(
        self,
        config: VLMRewardConfig,
        curriculum: CurriculumConfig,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
    ) -> None:
        super().__init__(input_observation_space, input_action_space)
        self.curriculum = make_curriculum(config.training_goals, curriculum)
        self.env: gym.vector.VectorEnv[Any, Any, Any] | None = None
        self.evaluates = False
        self._all, self._training = len(config.goal_set), len(config.training_goals)
        self.weights = self.curriculum.weights()
        self._is_remote = False
        self._posed: range | None = None

    def attach(self, *, evaluates: bool, is_remote: bool) -> None:
        """Say where this piece is, and send its envs their weights.

        Args:
            evaluates: in an evaluation env runner, which draws the held-out goals alike, or those
                of training where none is held out.
            is_remote: in a process other than the algorithm's.
        """
        self.evaluates, self._is_remote = evaluates, is_remote
        if evaluates:
            self._posed = range(self._training, self._all) or range(self._all)
        self.send_weights()

    def pose(self, goals: range) -> None:
        """Let the envs draw these goals of ``config.goal_set`` alike, from now on."""
        self._posed = goals
        self.send_weights()

    def send_weights(self) -> None:
        """Send the envs the weights to draw with, in force from the next reset of each."""
        if self.env is None:
            return
        weights = self.weights + [0.0] * (self._all - self._training)
        if self._posed is not None:
            weights = [float(goal in self._posed) / len(self._posed) for goal in range(self._all)]
        self.env.unwrapped.set_attr("goal_weights", [weights] * self.env.num_envs)

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Let the curriculum take note of episodes that ended, and send the envs its weights."""
        self.curriculum.observe(outcomes)
        self.weights = self.curriculum.weights()
        self.send_weights()

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the batch as it is."""
        return batch

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state of the curriculum, or in a remote env runner the weights."""
        if self._is_remote:
            return {"weights": self.weights}
        return {"curriculum": self.curriculum.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over a curriculum's state, or the weights that it came to."""
        if "curriculum" in state:
            self.curriculum.set_state(state["curriculum"])
            self.weights = self.curriculum.weights()
        else:
            self.weights = state["weights"]
        self.send_weights()

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what env runners need of the driver's piece, which needs nothing from them."""
        return {"weights": self.weights}


def log_outcomes(
    metrics: MetricsLogger, samples: Sequence[SingleAgentEpisode], *, fires: bool
) -> None:
    """Log the outcome of each episode that ended, after its rewards were added up.

    Args:
        metrics: the env runner's logger.
        samples: the chunks that leave the env runner.
        fires: whether a reward fires, by a threshold.
    """
    for chunk in samples:
        if not chunk.is_done:
            continue
        data = chunk.custom_data
        outcome = Outcome(
            goal=data[custom_data.GOAL_INDEX],
            vlm_return=data[custom_data.VLM_RETURN],
            vlm_success=data[custom_data.FIRES] > 0 if fires else None,
            ground_truth_return=data[custom_data.ENV_RETURN],
            ground_truth_success=data.get(custom_data.SUCCESS),
        )
        log_item(metrics, OUTCOMES, tuple(outcome))
