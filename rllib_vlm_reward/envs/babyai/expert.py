"""BabyAI's bot as an adviser that outlives detours and its own failures."""

from minigrid.core.actions import Actions
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.ground_truth import accomplished

__all__ = ["Expert"]


class Expert:
    """Advises one episode, whether or not its advice is taken.

    A bot is made at the first advice, and again where the last one gave up, where it missed steps
    of the agent, or where success was reached and lost.

    Args:
        level: just reset, or in any later state.

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
        """Take note of what the agent did."""
        self._taken.append(action)

    def advise(self) -> int | None:
        """Return MiniGrid's action for the present state.

        None where there is no advice: the mission is accomplished, the bot gives up or fails (it
        asserts and raises in rare states), or a new bot, whose plan begins with empty hands, finds
        the agent's full.
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
        return self._ask(self._bot, taken)

    def _ask(self, bot: BabyAIBot, taken: list[int]) -> int | None:
        try:
            advice = int(bot.replan(*taken))
        except (AssertionError, AttributeError, IndexError, TypeError):
            advice = int(Actions.done)
        if advice == Actions.done:
            self._bot = None
            return None
        return advice
