"""Numbered goals, so that one goal may have other negatives in each episode.

The negatives of a goal are fixed for a run (the paper, section 3.2). An
experiment that draws them anew in each episode gives the same goal several
times, each time with a number and with other negatives.
"""

import random
from typing import Any

import gymnasium as gym

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import GoalSet

MARK = " #"


class NumberedGoals(gym.Wrapper[Any, Any, Any, Any]):
    """Passes the goal "pick up the red ball #3" to the env as "pick up the red ball"."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Pass the goal to the env without its number; return it with its number in the info."""
        options = options or {}
        goal = options.get("goal")
        if goal is None:
            raise GoalError(
                "NumberedGoals: got no goal, expected one in options['goal']. Give the run a "
                "curriculum, such as {kind: uniform}."
            )
        unnumbered = {**options, "goal": goal.split(MARK)[0]}
        observation, info = self.env.reset(seed=seed, options=unnumbered)
        return observation, {**info, "goal": goal}


def numbered(goals: GoalSet, *, draws: int, negatives: int, nothing: str) -> list[dict[str, Any]]:
    """Return each goal ``draws`` times with other negatives, in the form of `vlm_reward.goals`.

    Args:
        goals: the goals; their prompts must differ. A policy that sees the prompt's embedding
            cannot distinguish the draws of a goal.
        draws: number of draws of each goal.
        negatives: number of other goals' prompts in a draw.
        nothing: a negative that every draw has in addition.
    """
    rng = random.Random(0)
    prompts = [goal.prompt for goal in goals.goals]
    return [
        {
            "text": f"{goal.text}{MARK}{draw}",
            "prompt": goal.prompt,
            "negatives": [
                *rng.sample([prompt for prompt in prompts if prompt != goal.prompt], negatives),
                nothing,
            ],
        }
        for goal in goals.goals
        for draw in range(draws)
    ]


gym.register(
    "NumberedGoals-v0", lambda **room: NumberedGoals(gym.make("rllib_vlm_reward/Lift-v0", **room))
)
