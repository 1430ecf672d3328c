"""The scorer, which joins goals, head and readouts, and the step from score to reward.

Needs no torch.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.heads import Head
from rllib_vlm_reward.reward_model.readouts import PatchReadout, Readout

__all__ = ["Scorer", "Scores", "key_of", "pay"]

Scores = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """The goals that frames are scored against, the head that scores, and readouts beside it.

    A scorer is small and picklable, so that clients can send it to the actors, which hold the
    :class:`~rllib_vlm_reward.reward_model.model.RewardModel`.

    Attributes:
        goals: the goal set; each frame comes with the index of its goal.
        head: see :mod:`rllib_vlm_reward.reward_model.heads`.
        precision: the precision in which frames are encoded for this scorer, ``fp32``, ``bf16`` or
            ``fp16``; None lets each reward model choose, see :meth:`.CLIPEncoder.tower_for`.
        readouts: what else is read from a frame, see :mod:`rllib_vlm_reward.reward_model.readouts`.

    Raises:
        RewardError: ``head`` is not a head.

    Example:
        >>> from rllib_vlm_reward.reward_model.heads import Softmax
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> Scorer(goals, Softmax()).fingerprint == Scorer(goals, Softmax(0.07)).fingerprint
        False
    """

    goals: GoalSet
    head: Head
    precision: str | None = None
    readouts: tuple[Readout, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.head, Head):
            raise RewardError(
                f"scorer: got the head {self.head!r}, expected an instance of a class that derives "
                "from rllib_vlm_reward.reward_model.heads.Head, such as Softmax()."
            )

    @cached_property
    def placed(self) -> "Scorer":
        """The scorer for frames of no env, see :meth:`.Readout.placed`."""
        readouts = tuple(readout.placed() for readout in self.readouts)
        return dataclasses.replace(self, readouts=readouts)

    def with_precisions(self, chosen: Mapping[str, str], expert: str = "") -> "Scorer":
        """Return the scorer whose frames are encoded in the precision that was chosen for it.

        Args:
            chosen: precisions, by :func:`key_of`.
            expert: the name of the expert whose scorer it is; empty if there are no experts.
        """
        return dataclasses.replace(self, precision=chosen.get(key_of(self, expert)))

    @property
    def keys(self) -> tuple[str, ...]:
        """The key under which its precision is kept, see :func:`key_of`."""
        return (key_of(self),)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers that answer a frame: ``score``, and those of the readouts."""
        return ("score", *(name for readout in self.readouts for name in readout.names))

    def columns_of(self, kind: str) -> slice:
        """Return which of the numbers that answer a frame are those of a readout."""
        first = 1
        for readout in self.readouts:
            if readout.kind == kind:
                return slice(first, first + len(readout.names))
            first += len(readout.names)
        raise KeyError(kind)

    @property
    def columns(self) -> int:
        """How many numbers answer a frame."""
        return len(self.names)

    @property
    def reads_patches(self) -> bool:
        """Whether a readout reads the patches of frames."""
        return any(isinstance(readout, PatchReadout) for readout in self.readouts)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The texts of the readouts, without those that are statements of the goals."""
        texts = dict.fromkeys(text for readout in self.readouts for text in readout.texts)
        known = set(self.goals.statements) if texts else set()
        return tuple(text for text in texts if text not in known)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of goals, head, readouts and precision; the same in every process."""
        parts = f"{self.goals.fingerprint} {self.head.digest()}"
        for readout in self.readouts:
            parts += f" {readout.digest()}"
        if self.precision is not None:
            parts += f" {self.precision}"
        return hashlib.sha256(parts.encode()).hexdigest()


def key_of(scorer: Scorer, expert: str = "") -> str:
    """Return the key under which the precision of a scorer is kept.

    Two experts may have the same scorer, but not the same encoder.

    Args:
        scorer: a scorer, in whatever precision.
        expert: the name of the expert whose scorer it is; empty if there are no experts.
    """
    return f"{expert}{dataclasses.replace(scorer, precision=None).fingerprint}"


def pay(scores: Scores, threshold: float | None) -> Scores:
    """Turn scores into rewards: the paper's equation 2, r = 1[p > β].

    Args:
        scores: float32 ``[B]``.
        threshold: β; None returns the scores unchanged.

    Returns:
        The rewards, float32 ``[B]``; 0 or 1 if there is a threshold.

    Example:
        >>> pay(np.array([0.2, 0.5, 0.9], np.float32), threshold=0.5)
        array([0., 0., 1.], dtype=float32)
    """
    return scores if threshold is None else (scores > threshold).astype(np.float32)
