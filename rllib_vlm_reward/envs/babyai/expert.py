"""BabyAI's bot as an adviser, which restarts the bot when it fails."""

from minigrid.core.actions import Actions
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.ground_truth import accomplished

__all__ = ["Expert"]


class Expert:
    """Advises the agent in one episode, even if the agent does not follow the advice.

    The class creates a bot at the first advice. It creates a new one when the last bot gave up,
    when that bot missed steps of the agent, or when success was reached and lost again.

    Args:
        level: the level, just reset or in any later state.

    Example:
        >>> from rllib_vlm_reward.envs.babyai.env import make_lift
        >>> env = make_lift(room_size=5, num_objects=2)
        >>> _ = env.reset(seed=0)
        >>> expert = Expert(env.unwrapped)
        >>> expert.advise() in range(4)
        True
    """

    def __init__(self, level: RoomGridLevel) -> None:
        self._level = level
        self._bot: BabyAIBot | None = None
        self._taken: list[int] = []

    def see(self, action: int) -> None:
        """Record an action that the agent took."""
        self._taken.append(action)

    def advise(self) -> int | None:
        """Return the advised MiniGrid action for the present state, or None without advice.

        There is no advice if the mission is accomplished, if the bot gives up or fails (it raises
        errors in rare states), or if a new bot would have to start while the agent carries an
        object, since its plans begin with empty hands.
        """
        taken, self._taken = self._taken, []
        if accomplished(self._level):
            self._bot = None
            return None
        if self._bot is None or len(taken) != 1:
            taken, self._bot = [], None
            if self._level.carrying is not None:
                return None
            self._bot = BabyAIBot(self._level)
        return self._replan(self._bot, taken)

    def _replan(self, bot: BabyAIBot, taken: list[int]) -> int | None:
        try:
            advice = int(bot.replan(*taken))
        except (AssertionError, AttributeError, IndexError, TypeError):
            advice = int(Actions.done)
        if advice == Actions.done:
            self._bot = None
            return None
        return advice
