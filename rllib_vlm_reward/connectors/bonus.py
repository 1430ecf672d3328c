"""What a bonus pays for each step, beside the goal's reward."""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import BonusConfig

__all__ = ["Bonus"]

Floats = npt.NDArray[np.float32]


class Bonus:
    """Computes a bonus from the numbers that a readout reads from frames.

    With ``potential``, a step from s to s' is paid γΦ(s') - Φ(s), where Φ is the weighted number of
    the frame: the shaping of Ng, Harada and Russell (1999). Where the episode terminates, Φ(s') is
    0; where it is truncated, Φ(s') remains, since the learner bootstraps from s'.

    Args:
        config: the settings of the bonus.

    Attributes:
        kind: the name of the readout's number.
        reads_resets: whether the frame of a reset is needed.
        gamma: the learner's discount factor; it may be changed later.

    Example:
        >>> bonus = Bonus(BonusConfig(kind="focal", weight=2.0, potential=True))
        >>> bonus.gamma = 0.5
        >>> bonus.begin(["a"], np.array([0.25], np.float32))
        >>> bonus(["a", "a"], np.array([0.5, 1.0], np.float32), np.array([False, True]))
        array([ 0., -1.], dtype=float32)
    """

    def __init__(self, config: BonusConfig) -> None:
        self.kind, self.reads_resets, self._weight = config.kind, config.potential, config.weight
        self.gamma = 0.99
        self._potentials: dict[str, float] = {}  # of the last frame of each episode

    def begin(self, ids: Sequence[str], numbers: Floats) -> None:
        """Store the numbers of the frames of resets, by the ids of their episodes."""
        self._potentials |= zip(ids, (self._weight * numbers).tolist(), strict=True)

    def __call__(
        self, ids: Sequence[str], numbers: Floats, terminates: npt.NDArray[np.bool_]
    ) -> Floats:
        """Return what N steps are paid, in the order in which they were stepped.

        Args:
            ids: ids of their episodes.
            numbers: float32 ``[N]``: the numbers of the frames after the steps.
            terminates: bool ``[N]``: whether the step terminates its episode.
        """
        paid = (self._weight * numbers).astype(np.float32)
        if not self.reads_resets:
            return paid
        potentials = np.where(terminates, 0.0, self._weight * numbers).tolist()
        for row, (id_, potential) in enumerate(zip(ids, potentials, strict=True)):
            paid[row] = self.gamma * potential - self._potentials[id_]
            self._potentials[id_] = potential
        return paid

    def keep_only(self, ids: Collection[str]) -> None:
        """Drop the potentials of all episodes but these; the others ended or were abandoned."""
        self._potentials = {id_: each for id_, each in self._potentials.items() if id_ in ids}
