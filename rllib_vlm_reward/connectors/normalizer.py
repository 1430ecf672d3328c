"""Scales rewards by the running standard deviation of their discounted return."""

import dataclasses
import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.connectors.newest import newest

__all__ = ["Moments", "RewardNormalizer"]

EPSILON = 1e-8


@dataclasses.dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations of a set of numbers.

    Attributes:
        count: how many numbers; a float, since a prior may weigh less than one number.
        mean: their mean.
        squares: the sum of their squared deviations from the mean.

    Example:
        >>> whole = Moments.of([1.0, 2.0, 6.0])
        >>> whole == Moments.of([1.0, 2.0]).merge(Moments.of([6.0]))
        True
        >>> whole.mean, whole.variance
        (3.0, 4.666666666666667)
    """

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Moments":
        """Return the moments of the numbers; a vector step may have none, only resets."""
        array = np.asarray(values, np.float64)
        if not len(array):
            return cls()
        mean = float(array.mean())
        return cls(float(len(array)), mean, float(((array - mean) ** 2).sum()))

    @property
    def variance(self) -> float:
        """The population variance."""
        return self.squares / self.count

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of the union (Chan, Golub and LeVeque, 1979)."""
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        squares = self.squares + other.squares + delta**2 * self.count * other.count / count
        return Moments(count, mean, squares)


# The start of gymnasium's RunningMeanStd: mean 0 and variance 1, with the weight of 1e-4 returns.
PRIOR = Moments(1e-4, 0.0, 1e-4)


class RewardNormalizer:
    """Divides rewards by the running standard deviation of their discounted return.

    This is the computation of gymnasium's ``NormalizeReward``, over all env runners of a run, whose
    moments are merged by :func:`.newest`.

    Args:
        gamma: discount factor of the returns; it may be changed later.

    Example:
        >>> normalizer = RewardNormalizer(gamma=0.5)
        >>> normalizer(["a", "b"], np.array([0, 8], np.float32), [False, True]).round(3)
        array([0., 2.], dtype=float32)
    """

    def __init__(self, gamma: float = 0.99) -> None:
        self.gamma = gamma
        self.clear()

    def clear(self) -> None:
        """Forget all moments and returns, and take a new key, as a new env runner would."""
        self._key = uuid.uuid4().hex
        self._own = Moments()
        self._others: dict[str, Moments] = {}
        self._rest = PRIOR  # the prior merged with the moments of the others
        self._returns: dict[str, float] = {}

    def __call__(
        self, ids: Sequence[str], rewards: npt.NDArray[np.float32], dones: Sequence[bool]
    ) -> npt.NDArray[np.float32]:
        """Update the moments with the rewards of one vector step, and return the scaled rewards.

        Args:
            ids: ids of the B episodes.
            rewards: float32 ``[B]``.
            dones: B bools: whether this step ends the episode.

        Returns:
            float32 ``[B]``.
        """
        for id_, reward in zip(ids, rewards.tolist(), strict=True):
            self._returns[id_] = self.gamma * self._returns.get(id_, 0.0) + reward
        self._own = self._own.merge(Moments.of([self._returns[id_] for id_ in ids]))
        for id_, done in zip(ids, dones, strict=True):
            if done:
                del self._returns[id_]
        deviation = math.sqrt(self._rest.merge(self._own).variance + EPSILON)
        scaled: npt.NDArray[np.float32] = rewards / np.float32(deviation)
        return scaled

    def keep_only(self, ids: set[str]) -> None:
        """Drop the returns of all episodes but these; the others were abandoned."""
        self._returns = {id_: value for id_, value in self._returns.items() if id_ in ids}

    def get_state(self) -> dict[str, Any]:
        """Return the moments of all env runners, ``{key: (count, mean, squares)}``."""
        by_key = {**self._others, self._key: self._own}
        return {
            key: dataclasses.astuple(moments)
            for key, moments in sorted(by_key.items())
            if moments.count
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Add the moments of a state, where they are newer than the present ones."""
        merged = newest([self.get_state(), state])
        self._others = {key: Moments(*values) for key, values in merged.items() if key != self._key}
        self._rest = PRIOR
        for moments in self._others.values():
            self._rest = self._rest.merge(moments)
