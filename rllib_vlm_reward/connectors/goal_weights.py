"""Holds the curriculum on the driver, and sends the weights of the goals to the envs."""

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
    """Connects a curriculum to RLlib. This connector piece does not change the batch.

    On the driver, the piece updates the curriculum, and checkpoints contain its state. In an env
    runner, the piece receives the weights of the goals and passes them to the
    :class:`~rllib_vlm_reward.connectors.drawn_goal.DrawnGoal` wrapper of each sub-env, where they
    take effect at the next reset.

    Args:
        config: the reward, which has the goals.
        curriculum: the settings of the curriculum.

    Attributes:
        env: the env runner's vector env. It is not a constructor argument because RLlib pickles
            these into checkpoints.
        curriculum: the curriculum; up to date only on the driver.
        weights: the weights of the training goals, with the sum 1.
        evaluates: whether the env runner runs evaluation.
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
        self._fixed_goals: range | None = None

    def attach(self, *, evaluates: bool, is_remote: bool) -> None:
        """Set the role of this piece, and send the weights to its envs.

        Args:
            evaluates: whether the env runner runs evaluation. It then draws the held-out goals
                uniformly, or the training goals if none are held out.
            is_remote: whether the env runner is in another process than the algorithm.
        """
        self.evaluates, self._is_remote = evaluates, is_remote
        if evaluates:
            self._fixed_goals = range(self._training, self._all) or range(self._all)
        self.send_weights()

    def draw_uniformly(self, goals: range) -> None:
        """Let the envs draw only these goals, uniformly, instead of following the curriculum.

        Args:
            goals: indices in ``config.goal_set``.
        """
        self._fixed_goals = goals
        self.send_weights()

    def send_weights(self) -> None:
        """Send the weights to the envs, where they take effect at the next reset."""
        if self.env is None:
            return
        weights = self.weights + [0.0] * (self._all - self._training)
        fixed = self._fixed_goals
        if fixed is not None:
            weights = [float(goal in fixed) / len(fixed) for goal in range(self._all)]
        self.env.unwrapped.set_attr("goal_weights", [weights] * self.env.num_envs)

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Update the curriculum with the episodes that ended, and send its weights to the envs."""
        self.curriculum.observe(outcomes)
        self.weights = self.curriculum.weights()
        self.send_weights()

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the batch unchanged."""
        return batch

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state of the curriculum, or only the weights in a remote env runner."""
        if self._is_remote:
            return {"weights": self.weights}
        return {"curriculum": self.curriculum.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set the state of the curriculum, or only the weights."""
        if "curriculum" in state:
            self.curriculum.set_state(state["curriculum"])
            self.weights = self.curriculum.weights()
        else:
            self.weights = state["weights"]
        self.send_weights()

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the driver's weights for the env runners; the states of these are not needed."""
        return {"weights": self.weights}


def log_outcomes(
    metrics: MetricsLogger, samples: Sequence[SingleAgentEpisode], *, fires: bool
) -> None:
    """Log the outcome of each episode that ended; its returns must be complete.

    Args:
        metrics: the env runner's logger.
        samples: the chunks that leave the env runner.
        fires: whether the reward has a threshold. Without one, the VLM reports no success.
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
