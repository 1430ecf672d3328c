"""Draws goals that are neither too hard nor too easy."""

from rllib_vlm_reward.curriculum.curriculum import Curriculum

__all__ = ["SuccessWindow"]


class SuccessWindow(Curriculum):
    """Draws the goals that succeed now and then: those of intermediate difficulty.

    The criterion of Florensa et al., 2018 (arXiv 1705.06366): mean success within
    ``[low, high]``. A goal without an episode counts as one of these; if no goal does, all are
    drawn alike. The draws of ``explore`` show when another goal enters the window.

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
        """Return equal weights for the goals in the window, and the share of ``explore``."""
        low, high = self.config.low, self.config.high
        means = [self.mean(goal) for goal in range(len(self.goals))]
        return self.explored([float(mean is None or low <= mean <= high) for mean in means])
