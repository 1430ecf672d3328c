"""How new a hint is: what is paid for it decays with the number of times that it was paid."""

import math
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.connectors.newest import newest

__all__ = ["Novelty", "kernel_of", "variances_after"]

Floats = npt.NDArray[np.float64]
_LEAST_NORM = 1e-6  # of an embedding that differs from the mean


class Novelty:
    """Counts how often each hint of each goal was paid, and says how new it is.

    The counts are those of all env runners of a run, see :func:`.newest`.

    With ``count``, a hint that was paid n times for a goal is 1/√(1 + n) new.

    With ``rnd``, the novelty is that of the statement's embedding x: the error with which a
    predictor knows a random function of x after it was fitted to the values of this function at the
    statements that were paid, as in random network distillation (Burda et al., arXiv 1810.12894).
    It is computed for infinitely many random networks of one infinitely wide hidden layer, and with
    noise of the variance 1 in each value. Then the mean squared error is the posterior variance of
    a Gaussian process (Ciosek et al., ICLR 2020), which depends on the counts only: not on the
    order, not on a seed, and not on which env runner counted. A statement without similar ones is
    1/√(1 + n) new.

    Args:
        decay: ``count``, ``rnd`` or ``none``, with which all hints stay new.
        statements: for each hint of each goal, the index of its statement, int64 ``[P]``.
        texts: the S statements.

    Attributes:
        embed: returns the embeddings of texts, float32 ``[S, D]``; called once if ``decay`` is
            ``rnd`` and something is paid.

    Example:
        >>> novelty = Novelty("count", np.array([0, 1]), ["facing a ball", "facing a key"])
        >>> [novelty.pay(0), novelty.pay(0), novelty.pay(1)]
        [1.0, 0.7071067811865475, 1.0]
    """

    def __init__(
        self,
        decay: Literal["count", "rnd", "none"],
        statements: npt.NDArray[np.int64],
        texts: Sequence[str],
    ) -> None:
        self.embed: Callable[[Sequence[str]], npt.NDArray[np.float32]] | None = None
        self._decay, self._statements, self._texts = decay, statements, list(texts)
        self._kernel: Floats | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all counts, and take a new key, as a new env runner would."""
        self._key = uuid.uuid4().hex
        self._own: Counter[int] = Counter()
        self._others: dict[str, tuple[int, dict[int, int]]] = {}
        self._sum_up()

    def pay(self, hint: int) -> float:
        """Return how new a hint is, from 1 to 0, and count that it is paid.

        Args:
            hint: the place of the hint and its goal in ``statements``.
        """
        if self._decay == "none":
            return 1.0
        if self._decay == "count":
            found = 1 / math.sqrt(1 + self.counts[hint])
        else:
            found = self._pay_statement(int(self._statements[hint]))
        self._own[hint] += 1
        self.counts[hint] += 1
        return found

    def get_state(self) -> dict[str, Any]:
        """Return the counts of all env runners, ``{key: (total, {hint: count})}``."""
        by_key = {**self._others, self._key: (self._own.total(), dict(self._own))}
        return {key: counted for key, counted in sorted(by_key.items()) if counted[0]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Add the counts of a state, where they are newer than the present ones."""
        merged = newest([self.get_state(), state])
        self._others = {key: counted for key, counted in merged.items() if key != self._key}
        self._sum_up()

    def _sum_up(self) -> None:
        """Set :attr:`counts` to the sums over all env runners, int64 ``[P]``."""
        self.counts = np.zeros(len(self._statements), np.int64)
        for counted in (self._own, *(each for _, each in self._others.values())):
            for hint, number in counted.items():
                self.counts[hint] += number
        self._variances: Floats | None = None  # [S, S]

    def _pay_statement(self, statement: int) -> float:
        if self._variances is None:
            times = np.bincount(self._statements, self.counts, len(self._texts)).astype(np.float64)
            self._variances = variances_after(times, self._known_kernel())
        row = self._variances[statement]
        found = math.sqrt(max(row[statement], 0.0))
        self._variances = self._variances - np.outer(row, row) / (1 + row[statement])
        return found

    def _known_kernel(self) -> Floats:
        if self._kernel is None:
            assert self.embed is not None
            self._kernel = kernel_of(self.embed(self._texts))
        return self._kernel


def kernel_of(embeddings: npt.NDArray[np.float32]) -> Floats:
    """Return how alike random networks see texts: float64 ``[S, S]``, 1 for the same text.

    It is the covariance of a random network with one infinitely wide layer of ReLUs (Cho and Saul,
    2009), on embeddings without their mean, which all texts share.

    Args:
        embeddings: float32 ``[S, D]``.

    Example:
        >>> kernel_of(np.array([[1.0, 0.0], [1.0, 0.5], [1.0, -0.5]], np.float32)).round(2)
        array([[1.  , 0.32, 0.32],
               [0.32, 1.  , 0.  ],
               [0.32, 0.  , 1.  ]])
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.where(norms > _LEAST_NORM, centred / np.maximum(norms, _LEAST_NORM), 0.0)
    cosines = (unit @ unit.T).clip(-1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    angles = np.arccos(cosines)
    kernel: Floats = (np.sin(angles) + (np.pi - angles) * cosines) / np.pi
    return kernel


def variances_after(times: Floats, kernel: Floats) -> Floats:
    """Return a Gaussian process's posterior covariance: float64 ``[S, S]``.

    Args:
        times: float64 ``[S]``: how often each point was observed, with noise of the variance 1.
        kernel: float64 ``[S, S]``: the prior covariance.

    Example:
        >>> variances_after(np.array([3.0, 0.0]), np.eye(2))
        array([[0.25, 0.  ],
               [0.  , 1.  ]])
    """
    seen = np.flatnonzero(times)
    roots = np.sqrt(times[seen])
    weighted = kernel[:, seen] * roots
    inner = np.eye(len(seen)) + weighted[seen] * roots[:, None]
    posterior: Floats = kernel - weighted @ np.linalg.solve(inner, weighted.T)
    return posterior
