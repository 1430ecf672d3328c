"""A curriculum that draws goals whose signal is changing."""

from collections.abc import Collection
from statistics import fmean

from rllib_vlm_reward.curriculum.curriculum import Curriculum

__all__ = ["LearningProgress", "progress_of"]

_MIN_EPISODES = 4  # two episodes per half


class LearningProgress(Curriculum):
    """Draws goals in proportion to their absolute learning progress.

    As in CURIOUS (Colas et al., 2019, arXiv 1810.06284), the progress of a goal is
    ``|mean of the newer half of its window - mean of the older half|``; the newer half has one
    episode more if their number is odd. Progress is large for goals that the agent learns or
    forgets, and zero for goals that it has mastered or cannot reach. A goal with fewer than 4
    episodes gets the largest progress of the other goals, or 1 if all goals have fewer.

    Example:
        >>> from rllib_vlm_reward.curriculum import CurriculumConfig, Outcome
        >>> from rllib_vlm_reward.goals import GoalSet
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> progress = LearningProgress(goals, CurriculumConfig(explore=0.5))
        >>> for success in (False, False, True, True):
        ...     progress.observe([Outcome(0, 0.0, False, 0.0, False)])  # never
        ...     progress.observe([Outcome(1, 0.0, success, 0.0, False)])  # better and better
        >>> progress.weights()
        [0.25, 0.75]
    """

    def weights(self) -> list[float]:
        """Return weights in proportion to progress, mixed with the share ``explore``."""
        progress = [progress_of(values) for values in self.values]
        default = max((value for value in progress if value is not None), default=1.0)
        return self.explored([default if value is None else value for value in progress])


def progress_of(values: Collection[float]) -> float | None:
    """Return the absolute learning progress in the values of a goal; None with fewer than 4."""
    if len(values) < _MIN_EPISODES:
        return None
    in_order, half = list(values), len(values) // 2
    return abs(fmean(in_order[half:]) - fmean(in_order[:half]))
