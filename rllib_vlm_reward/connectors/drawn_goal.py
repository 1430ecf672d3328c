"""The env wrapper that draws the goal of each episode, with weights that are set from outside."""

from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.errors import GoalError

__all__ = ["DrawnGoal"]


class DrawnGoal(gym.Wrapper[Any, Any, Any, Any]):
    """Draws a goal at each reset, and passes it to the env in ``options["goal"]``.

    The wrapper adds the goal to the info as ``info["goal"]``, at reset and at every step. If the
    env names its goal at reset, the text must equal the drawn goal. If the env names no goal, the
    wrapper assumes that the env has accepted the drawn one.

    Set the weights with ``vec_env.set_attr("goal_weights", [weights] * num_envs)``, which also
    works for the processes of an ``AsyncVectorEnv``. They take effect at the next reset. Set
    ``drawn_goals`` before them if goals were added.

    Args:
        env: an env that accepts ``reset(options={"goal": text})``.
        goals: the texts of G goals: the training goals first, then the held-out ones.
        training: the number of training goals. Until weights are set, each of these has the same
            chance, and the others have none.
        goal_source: where the env names its goal at reset, ``info:KEY`` or ``obs:KEY``.

    Raises:
        GoalError: the env chose another goal than the drawn one.

    Example:
        >>> room = gym.make("rllib_vlm_reward/Playroom-v0")
        >>> env = DrawnGoal(room, ["go to a red ball", "pick up a blue key"], training=2)
        >>> env.goal_weights
        [0.5, 0.5]
        >>> env.goal_weights = [0.0, 1.0]
        >>> env.reset(seed=0)[1]["goal"]
        'pick up a blue key'
        >>> env.reset(options={"goal": "go to the grey box"})[1]["goal"]
        'go to the grey box'
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        goals: Sequence[str],
        training: int,
        goal_source: str = "info:goal",
    ) -> None:
        super().__init__(env)
        self._source = goal_source
        self._goals = tuple(goals)
        self._goal = ""
        self._weights: list[float] = []
        self._rng = np.random.default_rng()
        self.goal_weights = [float(index < training) / training for index in range(len(goals))]

    @property
    def drawn_goals(self) -> tuple[str, ...]:
        """The texts of the goals that may be drawn. New ones have no chance until it is set."""
        return self._goals

    @drawn_goals.setter
    def drawn_goals(self, goals: Sequence[str]) -> None:
        chance = dict(zip(self._goals, self._weights, strict=True))
        self._goals = tuple(goals)
        self._weights = [chance.get(goal, 0.0) for goal in self._goals]

    @property
    def goal_weights(self) -> list[float]:
        """The chance of each of the G goals, none below 0, with the sum 1.

        Raises:
            GoalError: the number of weights is not G, a weight is below 0, or the sum is not 1.
        """
        return self._weights

    @goal_weights.setter
    def goal_weights(self, weights: list[float]) -> None:
        given = [float(weight) for weight in weights]
        least, total = min(given, default=0.0), sum(given)
        # NaN must fail too, so the condition is not written as `least < 0 or ...`.
        if len(given) != len(self._goals) or not (least >= 0 and abs(total - 1) < 1e-6):
            raise GoalError(
                f"goal_weights: got {len(given)} weights with minimum {least} and sum {total}; "
                f"expected {len(self._goals)} weights (one for each goal), none below 0, with sum "
                "1. Divide the weights by their sum."
            )
        self._weights = given

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the env with the goal in ``options``, or else with a drawn goal.

        Args:
            seed: seed for the env and for drawing the goals from now on.
            options: passed to the env; a text under ``goal`` replaces the drawn goal.

        Raises:
            GoalError: see the class.
        """
        if seed is not None:
            # A child of the seed: the env uses the random numbers of the seed itself.
            self._rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        options = options or {}
        goal = options.get("goal")
        self._goal = self._draw() if goal is None else goal
        observation, info = self.env.reset(seed=seed, options={**options, "goal": self._goal})
        named = self._named(observation, info)
        if named != self._goal:
            raise GoalError(
                f"goal {self._goal!r}: the env chose another goal, {named!r}. Remove the "
                "curriculum, or make the env use the goal in reset(options={'goal': ...})."
            )
        return observation, {**info, "goal": self._goal}

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the env."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {"goal": self._goal, **info}

    def _named(self, observation: Any, info: dict[str, Any]) -> str:
        kind, _, key = self._source.partition(":")
        try:
            return str((info if kind == "info" else observation)[key])
        except (KeyError, IndexError, TypeError):
            return self._goal

    def _draw(self) -> str:
        weights = np.array(self._weights)
        return self._goals[self._rng.choice(len(weights), p=weights / weights.sum())]
