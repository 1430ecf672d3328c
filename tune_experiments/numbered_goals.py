"""Goals with numbers, so that each time one is posed it may be weighed against other negatives.

What a goal is weighed against is fixed for a run (the paper, section 3.2). An experiment that wants
it drawn anew each episode gives the same goal several times, with other negatives and a number.
"""

import random
from typing import Any

import gymnasium as gym

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import GoalSet

MARK = " #"


class NumberedGoals(gym.Wrapper[Any, Any, Any, Any]):
    """Poses "pick up the red ball #3" as "pick up the red ball"."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Pose the goal without its number, and tell it with it."""
        options = options or {}
        goal = options.get("goal")
        if goal is None:
            raise GoalError(
                "NumberedGoals: got no goal to pose, expected one in options['goal']. Give the run "
                "a curriculum, such as {kind: uniform}."
            )
        posed = {**options, "goal": goal.split(MARK)[0]}
        observation, info = self.env.reset(seed=seed, options=posed)
        return observation, {**info, "goal": goal}


def numbered(goals: GoalSet, *, draws: int, negatives: int, nothing: str) -> list[dict[str, Any]]:
    """Return each goal as often as negatives are drawn for it, as `vlm_reward.goals` takes them.

    Args:
        goals: whose prompts differ; a policy that sees the prompt's embedding cannot tell draws.
        draws: how often.
        negatives: how many other goals' prompts a draw has.
        nothing: a negative that each draw has too.
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
