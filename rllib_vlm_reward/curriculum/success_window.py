"""A curriculum that draws goals which are neither too hard nor too easy."""

from rllib_vlm_reward.curriculum.curriculum import Curriculum

__all__ = ["SuccessWindow"]


class SuccessWindow(Curriculum):
    """Draws goals of intermediate difficulty: those whose mean success is in ``[low, high]``.

    This is the criterion of Florensa et al., 2018 (arXiv 1705.06366). A goal without an episode is
    drawn too. If no goal meets the criterion, all are drawn with equal probability. The share
    ``explore`` of the draws lets the curriculum notice when another goal meets it.

    Example:
        >>> from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome
        >>> from rllib_vlm_reward.goals import GoalSet
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> window = SuccessWindow(goals, CurriculumConfig(explore=0.5))
        >>> window.observe([Outcome(0, 1.0, True, 1.0, True)])  # always reached: too easy
        >>> window.weights()
        [0.25, 0.75]
    """

    def weights(self) -> list[float]:
        """Return equal weights for the goals in the window, mixed with the share ``explore``."""
        low, high = self.config.low, self.config.high
        means = [self.mean(goal) for goal in range(len(self.goals))]
        return self.explored([float(mean is None or low <= mean <= high) for mean in means])
