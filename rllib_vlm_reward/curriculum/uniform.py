"""A curriculum that draws all goals with equal probability."""

from rllib_vlm_reward.curriculum.curriculum import Curriculum

__all__ = ["Uniform"]


class Uniform(Curriculum):
    """Draws every goal with the same probability, whatever the outcomes of its episodes."""

    def weights(self) -> list[float]:
        """Return ``1 / N`` for each of N goals."""
        return [1.0 / len(self.goals)] * len(self.goals)
