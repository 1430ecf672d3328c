"""Holds the curriculum on the driver, and sends goals and their weights to the envs."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.curriculum import (
    CurriculumConfig,
    Growth,
    Outcome,
    make_curriculum,
    make_proposer,
)
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.monitoring.metric_names import OUTCOMES, log_item

__all__ = ["GoalWeights", "log_outcomes", "outcomes_of"]


class GoalWeights(ConnectorV2):  # type: ignore[misc]
    """Connects a curriculum to RLlib. This connector piece does not change the batch.

    On the driver, the piece updates the curriculum, and checkpoints contain its state. In an env
    runner, the piece receives the goals that were added, together with the weights of all of them,
    and passes them to the :class:`~rllib_vlm_reward.connectors.drawn_goal.DrawnGoal` wrapper of
    each sub-env, where they take effect at the next reset.

    Args:
        config: the reward, which has the goals.
        curriculum: the settings of the curriculum.

    Attributes:
        config: as given.
        env: the env runner's vector env. It is not a constructor argument because RLlib pickles
            these into checkpoints.
        known: the goals that this process knows; shared with the other pieces of the pipeline.
        curriculum: the curriculum; up to date only on the driver.
        growth: the books of the goals that are added, only on the driver; None without
            ``propose``.
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
        self.config, self._settings = config, curriculum
        self.known = KnownGoals(config)
        self.curriculum = make_curriculum(config.training_goals, curriculum)
        self.env: gym.vector.VectorEnv[Any, Any, Any] | None = None
        self.evaluates = False
        self.growth: Growth | None = None
        self.weights = self.curriculum.weights()
        self._is_remote = self._has_grown = False
        self._fixed_goals: range | None = None
        self._begin_anew: Callable[[], None] = lambda: None

    def attach(
        self, *, evaluates: bool, is_remote: bool, begin_anew: Callable[[], None] = lambda: None
    ) -> None:
        """Set the role of this piece, and send the weights to its envs.

        Args:
            evaluates: whether the env runner runs evaluation. It then draws the held-out goals
                uniformly, or the training goals if none are held out; never goals that were added.
            is_remote: whether the env runner is in another process than the algorithm.
            begin_anew: abandons the episodes in progress.
        """
        self.evaluates, self._is_remote, self._begin_anew = evaluates, is_remote, begin_anew
        if evaluates:
            first, number = len(self.config.training_goals), len(self.config.goal_set)
            self._fixed_goals = range(first, number) or range(number)
        self.send_weights()

    def begin_growth(self) -> bool:
        """Be the driver's piece, and open the books if goals are proposed; return whether."""
        propose, config = self._settings.propose, self.config
        if propose is not None:
            held_out = config.goal_set.texts[len(config.training_goals) :]
            proposer = make_proposer(
                config.training_goals, propose, config.goal_templates, held_out
            )
            self.growth = Growth(proposer)
        return propose is not None

    def draw_uniformly(self, goals: range) -> None:
        """Let the envs draw only these goals, uniformly, instead of following the curriculum.

        Args:
            goals: indices in ``config.goal_set``.
        """
        self._fixed_goals = goals
        self.send_weights()

    def send_weights(self) -> None:
        """Send goals and weights to the envs, where they take effect at the next reset."""
        if self.env is None:
            return
        envs, fixed = self.env.unwrapped, self._fixed_goals
        weights = self.known.spread(self.weights)
        if fixed is not None:
            weights = [float(goal in fixed) / len(fixed) for goal in range(len(self.known.all))]
        self._has_grown = self._has_grown or bool(self.known.added)
        if self._has_grown:  # the envs have the goals of the configuration
            envs.set_attr("drawn_goals", [self.known.all.texts] * self.env.num_envs)
        envs.set_attr("goal_weights", [weights] * self.env.num_envs)

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Update the curriculum with the episodes that ended, and send its weights to the envs."""
        self.curriculum.observe(outcomes)
        self.weights = self.curriculum.weights()
        self.send_weights()

    def add(self, texts: Sequence[str]) -> None:
        """Add training goals on the driver.

        Raises:
            GoalError: see :meth:`.GoalSet.grow`.
        """
        self.known.add(texts)
        self.curriculum.grow(self.known.training)
        self.weights = self.curriculum.weights()
        self.send_weights()

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the batch unchanged."""
        return batch

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the state of the curriculum, or only the weights in a remote env runner."""
        if self._is_remote:
            return self.merge_states([])
        growth = {} if self.growth is None else {"growth": self.growth.get_state()}
        return {"curriculum": self.curriculum.get_state(), "added": self._added, **growth}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set the state of the curriculum, or only goals and weights."""
        is_whole = "curriculum" in state
        added = state.get("added", ()) if self._settings.propose is not None else ()
        is_same = self.known.follow(added, exactly=is_whole and not self._is_remote)
        if self.growth is not None and "growth" in state:
            self.growth.set_state(state["growth"])
        if is_whole:
            if self.curriculum.goals is not self.known.training:
                self.curriculum = make_curriculum(self.config.training_goals, self._settings)
                self.curriculum.grow(self.known.training)
            self.curriculum.set_state(state["curriculum"])
            self.weights = self.curriculum.weights()
        else:
            self.weights = state["weights"]
        self.send_weights()
        if not is_same:
            self._begin_anew()

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the driver's goals and weights for the env runners, whose states it ignores."""
        return {"weights": self.weights, "added": self._added}

    @property
    def _added(self) -> list[list[str]]:
        return [list(texts) for texts in self.known.added]


def log_outcomes(
    metrics: MetricsLogger,
    samples: Sequence[SingleAgentEpisode],
    goals: Sequence[str],
    *,
    fires: bool,
) -> None:
    """Log the outcome of each episode that ended, with the text of its goal in place of an index.

    Its returns must be complete. On the driver, an index may mean another goal by then.

    Args:
        metrics: the env runner's logger.
        samples: the chunks that leave the env runner.
        goals: the texts of all goals that this process knows.
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
        log_item(metrics, OUTCOMES, (goals[outcome.goal], *outcome[1:]))


def outcomes_of(items: Sequence[tuple[Any, ...]], goals: GoalSet) -> list[Outcome]:
    """Return the outcomes that env runners logged, for the goals that the driver knows.

    Another goal is that of an episode that began before another run's checkpoint was restored.

    Args:
        items: what :func:`log_outcomes` logged.
        goals: the training goals.
    """
    indices = {text: index for index, text in enumerate(goals.texts)}
    return [Outcome(indices[text], *rest) for text, *rest in items if text in indices]
