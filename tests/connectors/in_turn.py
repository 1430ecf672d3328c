"""A curriculum whose weights say exactly which goals may come next."""

from rllib_vlm_reward.curriculum import Curriculum

EACH = 10


class InTurn(Curriculum):
    """Draws one goal alone, the next one after every ten episodes or more."""

    def weights(self):
        turn = sum(self.episodes) // EACH % len(self.goals)
        return [float(goal == turn) for goal in range(len(self.goals))]
