"""What readouts share that look for a noun: how probable each patch makes it."""

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.reward_model.readouts.base import PatchReadout

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NounReadout"]


@dataclasses.dataclass(frozen=True)
class NounReadout(PatchReadout):
    """Compares each patch with the noun of the frame's goal, and with other words.

    Attributes:
        nouns: the noun of each of the scorer's goals, in order.
        others: the words that the noun is compared with; a noun may be among them.
    """

    nouns: tuple[str, ...]
    others: tuple[str, ...]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The other words, and then the nouns that are not among them."""
        return tuple(dict.fromkeys((*self.others, *self.nouns)))

    @cached_property
    def _rows(self) -> npt.NDArray[np.int64]:
        """The place of each goal's noun in :attr:`texts`."""
        places = {text: place for place, text in enumerate(self.texts)}
        return np.array([places[noun] for noun in self.nouns], np.int64)

    def compare(
        self, patches: "Tensor", texts: "Tensor", goals: "Tensor", logit_scale: float
    ) -> "tuple[Tensor, Tensor]":
        """Return p of each patch, float32 ``[B, h, w]``, and whether the noun leads, bool.

        p is the softmax at the model's temperature over the noun and the other words. For the
        arguments see :meth:`.PatchReadout.__call__`.
        """
        import torch

        logits = logit_scale * patches @ texts.T  # [B, h, w, N]
        rows = torch.as_tensor(self._rows, device=goals.device)[goals].view(-1, 1, 1, 1)
        noun = logits.gather(3, rows.expand(*logits.shape[:3], 1))[..., 0]
        others = logits[..., : len(set(self.others))]
        every = others.logsumexp(dim=3)
        every = torch.where(rows[..., 0] < others.shape[3], every, torch.logaddexp(every, noun))
        return (noun - every).exp(), noun >= others.amax(dim=3)
