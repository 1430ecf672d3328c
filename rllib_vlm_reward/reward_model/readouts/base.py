"""The base classes of readouts."""

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.reward_model.heads.base import digest_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PatchReadout", "Readout", "ScoreReadout"]


@dataclasses.dataclass(frozen=True)
class Readout:
    """Reads numbers with names from a frame, in the forward pass of its score.

    A readout is a frozen dataclass; its fields are its settings. It derives from
    :class:`PatchReadout` or :class:`ScoreReadout`. A module with a readout must not import torch at
    its top; import torch in ``__call__``.

    Attributes:
        kind: the name of the class; a scorer has at most one readout of a kind.
    """

    kind: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the k numbers."""
        raise NotImplementedError(f"{type(self).__name__} must override names.")

    @property
    def texts(self) -> tuple[str, ...]:
        """The N distinct texts that the readout needs beside the statements of the goals."""
        return ()

    def placed(self) -> "Readout":
        """Return the readout for frames of no env, with a value for what only an env says."""
        return self

    def digest(self) -> str:
        """Return the SHA-256 of the class and its fields' contents, see :meth:`.Head.digest`."""
        return digest_of(self)


@dataclasses.dataclass(frozen=True)
class PatchReadout(Readout):
    """Reads numbers with names from the patches of a frame."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The N distinct texts whose embeddings the readout compares with the patches."""
        raise NotImplementedError(f"{type(self).__name__} must override texts.")

    def __call__(
        self, patches: "Tensor", texts: "Tensor", goals: "Tensor", logit_scale: float
    ) -> "Tensor":
        """Return the numbers of B frames. Those of a frame must not depend on the other frames.

        Args:
            patches: float32 ``[B, h, w, D]``, unit norm: the embeddings of each frame's patches.
            texts: float32 ``[N, D]``, unit norm: the embeddings of :attr:`texts`.
            goals: int64 ``[B]``, the index of each frame's goal in the scorer's goals.
            logit_scale: the factor by which the model multiplies a cosine.

        Returns:
            float32 ``[B, k]``.
        """
        raise NotImplementedError(f"{type(self).__name__} must override __call__.")


@dataclasses.dataclass(frozen=True)
class ScoreReadout(Readout):
    """Reads numbers with names from the scores of a frame for many goals.

    Attributes:
        candidates: the indices of these C goals in the scorer's goals.
    """

    candidates: tuple[int, ...]

    @cached_property
    def indices(self) -> npt.NDArray[np.int64]:
        """The candidates, int64 ``[C]``."""
        return np.array(self.candidates, np.int64)

    def __call__(self, scores: "Tensor", goals: "Tensor") -> "Tensor":
        """Return the numbers of B frames. Those of a frame must not depend on the other frames.

        Args:
            scores: float32 ``[B, C]``: the score of each frame for each candidate.
            goals: int64 ``[B]``, the index of each frame's goal in the scorer's goals.

        Returns:
            float32 ``[B, k]``.
        """
        raise NotImplementedError(f"{type(self).__name__} must override __call__.")
