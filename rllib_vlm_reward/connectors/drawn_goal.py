"""Draws an episode's goal for the env, by weights that are set from outside."""

from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.errors import GoalError

__all__ = ["DrawnGoal"]


class DrawnGoal(gym.Wrapper[Any, Any, Any, Any]):
    """Gives the env a goal drawn by ``goal_weights`` at each reset, in ``options["goal"]``.

    The goal stands in ``info["goal"]`` at reset and at every step. An env that names its goal must
    name the drawn one, word for word; an env that names none is taken to have it.

    Set the weights through ``vec_env.set_attr("goal_weights", [weights] * num_envs)``, which
    reaches the processes of an ``AsyncVectorEnv`` too. They count from the next reset on.

    Args:
        env: takes ``reset(options={"goal": text})``.
        goals: the texts of G goals, the first ``training`` of which are drawn from.
        training: how many; until weights are set, all are alike likely.
        goal_source: where the env names its goal when it resets, ``info:KEY`` or ``obs:KEY``.

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
        self._rng = np.random.default_rng()
        self.goal_weights = [float(index < training) / training for index in range(len(goals))]

    @property
    def goal_weights(self) -> list[float]:
        """The chance of each of the G goals, >= 0, in sum 1.

        Raises:
            GoalError: weights of another number, below 0, or of another sum.
        """
        return self._weights

    @goal_weights.setter
    def goal_weights(self, weights: list[float]) -> None:
        given = [float(weight) for weight in weights]
        least, total = min(given, default=0.0), sum(given)
        # So said that NaN fails too.
        if len(given) != len(self._goals) or not (least >= 0 and abs(total - 1) < 1e-6):
            raise GoalError(
                f"goal_weights: got {len(given)} weights, the least {least}, in sum {total}; "
                f"expected {len(self._goals)}, one a goal, none below 0, in sum 1. Divide them by "
                "their sum."
            )
        self._weights = given

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the env with the goal in ``options``, else with a drawn one.

        Args:
            seed: of the env and of this and later draws.
            options: passed on; ``goal`` takes the place of the draw.

        Raises:
            GoalError: see the class.
        """
        if seed is not None:
            # A child of the seed, for the env draws from the seed's own stream.
            self._rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        options = options or {}
        goal = options.get("goal")
        self._goal = self._draw() if goal is None else goal
        observation, info = self.env.reset(seed=seed, options={**options, "goal": self._goal})
        named = self._named(observation, info)
        if named != self._goal:
            raise GoalError(
                f"goal {self._goal!r}: the env chose its own mission, {named!r}. Drop the "
                "curriculum, or let the env honour reset(options={'goal': ...})."
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
