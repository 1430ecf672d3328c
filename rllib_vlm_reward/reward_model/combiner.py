"""How the scores of several experts become one; NumPy alone.

Letters in shapes: B frames, E experts, G goals. A score that is NaN is that of an expert who did
not answer.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "CombineRule",
    "Combiner",
    "Floats",
    "Rule",
    "Trust",
    "disagreement",
    "log_odds",
    "plain_evidence",
]

Floats = npt.NDArray[np.floating[Any]]
Goals = npt.NDArray[np.integer[Any]]
CombineRule = Literal["mean", "max", "noisy_or"]
_SMALLEST = 1e-6  # probabilities are clipped to [1e-6, 1 - 1e-6]; float32 resolves 6e-8 at 1


def log_odds(probabilities: Floats) -> npt.NDArray[np.float64]:
    """Return the clipped log-odds of probabilities, log p / (1 - p), between -13.8 and 13.8.

    Example:
        >>> log_odds(np.array([0.0, 0.5, 1.0])).round(1).tolist()
        [-13.8, 0.0, 13.8]
    """
    clipped = np.clip(np.asarray(probabilities, np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def plain_evidence(scores: Floats, probabilities: Sequence[bool]) -> npt.NDArray[np.float64]:
    """Return the evidence of experts before it is standardised, ``[B, E]``.

    Args:
        scores: ``[B, E]``.
        probabilities: E: whether an expert's score is a probability, so that its log-odds count.
    """
    given = np.asarray(scores, np.float64)
    return np.asarray(np.where(np.array(probabilities), log_odds(given), given))


class Combiner(Protocol):
    """Makes one score of the experts' scores."""

    def __call__(self, scores: Floats, goals: Goals) -> npt.NDArray[np.float64]:
        """Return the combined score of each frame, ``[B]``.

        Args:
            scores: ``[B, E]``; NaN where an expert did not answer. Each row has an answer.
            goals: ``[B]``, the index of each frame's goal.
        """

    def opinions(self, scores: Floats, goals: Goals) -> npt.NDArray[np.float64]:
        """Return the score that each expert alone would give, on one scale, ``[B, E]``."""

    def range(self, ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """Return the lowest and highest combined score.

        Args:
            ranges: the lowest and highest score of each expert.
        """


def disagreement(opinions: Floats) -> npt.NDArray[np.float64]:
    """Return the standard deviation of the experts' opinions, ``[B]``; of one answer it is 0.

    Args:
        opinions: ``[B, E]``, see :meth:`Combiner.opinions`; NaN where an expert did not answer.

    Example:
        >>> disagreement(np.array([[0.2, 0.6, np.nan], [0.5, np.nan, np.nan]])).round(6).tolist()
        [0.2, 0.0]
    """
    answered = ~np.isnan(opinions)
    number = answered.sum(axis=1)
    mean = np.where(answered, opinions, 0.0).sum(axis=1) / number
    squares = np.where(answered, opinions - mean[:, None], 0.0) ** 2
    return np.asarray(np.sqrt(squares.sum(axis=1) / number))


_RULES: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda scores: np.nanmean(scores, axis=1),
    "max": lambda scores: np.nanmax(scores, axis=1),
    "noisy_or": lambda scores: 1 - np.nanprod(1 - scores, axis=1),
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """A combination without a calibration, over the experts that answered.

    Attributes:
        kind: ``mean``; ``max``; or ``noisy_or``, 1 - (1 - p)(1 - q)..., the probability that any
            expert is right if they err independently.

    Example:
        >>> scores, goals = np.array([[0.5, 0.5], [0.2, np.nan]]), np.zeros(2, int)
        >>> Rule("noisy_or")(scores, goals).round(6).tolist()
        [0.75, 0.2]
        >>> Rule("mean")(scores, goals).tolist()
        [0.5, 0.2]
    """

    kind: CombineRule

    def __call__(self, scores: Floats, goals: Goals) -> npt.NDArray[np.float64]:
        """See :class:`Combiner`."""
        return np.asarray(_RULES[self.kind](np.asarray(scores, np.float64)), np.float64)

    def opinions(self, scores: Floats, goals: Goals) -> npt.NDArray[np.float64]:
        """See :class:`Combiner`."""
        return np.asarray(scores, np.float64)

    def range(self, ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """See :class:`Combiner`."""
        lows, highs = zip(*ranges, strict=True)
        if self.kind == "noisy_or":  # of probabilities
            return min(lows), float(1 - np.prod([1 - high for high in highs]))
        return min(lows), max(highs)


@dataclasses.dataclass(frozen=True, eq=False)
class Trust:
    """A calibrated combination: the probability of success, given the experts that answered.

    It is the logistic function of ``bias + sum of weight * evidence``. An expert's evidence is its
    log-odds, or its score if the head gives no probability, standardised by the frames of the
    calibration. Each set of experts has weights of its own, for the case that only these answer.

    Attributes:
        probabilities: E: whether each expert's score is a probability.
        centers: ``[E]``: what is subtracted from the log-odds or scores.
        scales: ``[E]``: what they are then divided by.
        weights: by set of experts, ``[G, E]``: how much each expert counts for each goal; 0 for an
            expert outside of the set. A set is a number whose bit e stands for expert e.
        biases: by set of experts, ``[G]``.

    Example:
        >>> both, one, other = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]), np.array([[0, 1.0]])
        >>> trust = Trust(
        ...     probabilities=(True, False),
        ...     centers=np.zeros(2),
        ...     scales=np.ones(2),
        ...     weights={3: both, 1: one, 2: other},
        ...     biases={3: np.zeros(1), 1: np.zeros(1), 2: np.zeros(1)},
        ... )
        >>> trust(np.array([[0.5, 0.0], [0.8, np.nan]]), np.array([0, 0])).round(3).tolist()
        [0.5, 0.8]
    """

    probabilities: tuple[bool, ...]
    centers: npt.NDArray[np.float64]
    scales: npt.NDArray[np.float64]
    weights: Mapping[int, npt.NDArray[np.float64]]
    biases: Mapping[int, npt.NDArray[np.float64]]

    def __call__(self, scores: Floats, goals: Goals) -> npt.NDArray[np.float64]:
        """See :class:`Combiner`."""
        answered = ~np.isnan(scores)
        evidence = np.where(answered, self.evidence(scores), 0.0)
        sets = answered @ self._bits
        combined = np.empty(len(scores))
        for experts in np.unique(sets).tolist():
            rows = np.flatnonzero(sets == experts)
            weights, biases = self.weights[experts][goals[rows]], self.biases[experts][goals[rows]]
            combined[rows] = _logistic(biases + (weights * evidence[rows]).sum(axis=1))
        return combined

    def opinions(self, scores: Floats, goals: Goals) -> npt.NDArray[np.float64]:
        """See :class:`Combiner`."""
        evidence = self.evidence(scores)
        opinions = np.empty(evidence.shape)
        for expert, bit in enumerate(self._bits.tolist()):
            weights, biases = self.weights[bit][goals, expert], self.biases[bit][goals]
            opinions[:, expert] = _logistic(biases + weights * evidence[:, expert])
        return opinions

    def range(self, ranges: Sequence[tuple[float, float]]) -> tuple[float, float]:
        """See :class:`Combiner`."""
        return 0.0, 1.0

    def evidence(self, scores: Floats) -> npt.NDArray[np.float64]:
        """Return the standardised log-odds or scores, ``[B, E]``."""
        return np.asarray((plain_evidence(scores, self.probabilities) - self.centers) / self.scales)

    @cached_property
    def _bits(self) -> npt.NDArray[np.int64]:
        return 1 << np.arange(len(self.probabilities), dtype=np.int64)


def _logistic(log_odds: Floats) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -700, 700))))
