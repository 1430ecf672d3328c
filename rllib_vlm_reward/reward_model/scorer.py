"""What frames are scored against, and what a score pays; needs no CLIP, so every client has it."""

import dataclasses
import hashlib
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.heads import Head

__all__ = ["Scorer", "Scores", "pay"]

Scores = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """What frames are scored against: the goals, and the head that compares.

    Small and picklable: it travels to wherever a
    :class:`~rllib_vlm_reward.reward_model.model.RewardModel` is.

    Attributes:
        goals: the goal set; a frame carries its goal's index.
        head: see :mod:`rllib_vlm_reward.reward_model.heads`.

    Raises:
        RewardError: what is given as head is none.

    Example:
        >>> from rllib_vlm_reward.reward_model.heads import Softmax
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> Scorer(goals, Softmax()).fingerprint == Scorer(goals, Softmax(0.07)).fingerprint
        False
    """

    goals: GoalSet
    head: Head

    def __post_init__(self) -> None:
        if not isinstance(self.head, Head):
            raise RewardError(
                f"scorer: got the head {self.head!r}, expected an instance of a class that derives "
                "from rllib_vlm_reward.reward_model.heads.Head, such as Softmax()."
            )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of goals and head, in hex; the same in every process."""
        parts = f"{self.goals.fingerprint} {self.head.digest()}"
        return hashlib.sha256(parts.encode()).hexdigest()


def pay(scores: Scores, threshold: float | None) -> Scores:
    """Turn scores into rewards: the paper's equation 2, r = 1[p > β].

    Args:
        scores: float32 ``[B]``.
        threshold: β; None pays the scores themselves.

    Returns:
        float32 ``[B]``, of 0 and 1 where there is a threshold.

    Example:
        >>> pay(np.array([0.2, 0.5, 0.9], np.float32), threshold=0.5)
        array([0., 0., 1.], dtype=float32)
    """
    return scores if threshold is None else (scores > threshold).astype(np.float32)
