"""COPL's focal reward: how much of the goal's thing is near a place of the frame."""

import dataclasses
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model.readouts.nouns import NounReadout

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Focal"]

SIGMA = 1 / 3  # of the kernel, as a share of the frame's width and of its height


@dataclasses.dataclass(frozen=True)
class Focal(NounReadout):
    """The mean over the patches of p × a kernel, in [0, 1] (COPL, arXiv 2408.01942).

    p is the probability that a patch shows the noun of the frame's goal: the softmax at the model's
    temperature over the noun and the other words. The kernel is a Gaussian around ``centre``, with
    a third of the frame's width and of its height as standard deviations, and 1 at its highest
    patch.

    Attributes:
        nouns: the noun of each of the scorer's goals, in order.
        others: the words that the noun is compared with; a noun may be among them.
        centre: x and y of the kernel's centre, as shares of the width, from the left, and of the
            height, from the top, of what the model sees of a frame. None if it is not known yet;
            then the readout cannot be called.
        argmax: whether only those patches count in which the noun is the most probable word.
        binary: a probability; patches above it count as 1, the others as 0. None takes p itself.

    Example:
        >>> import torch
        >>> focal = Focal(nouns=("a ball",), others=("nothing",))
        >>> ball, nothing = torch.eye(2)
        >>> patches = torch.stack([nothing, nothing, ball]).view(1, 1, 3, 2)
        >>> focal(patches, torch.stack([nothing, ball]), torch.tensor([0]), 100.0)
        tensor([[0.2022]])
    """

    kind: ClassVar[str] = "focal"

    centre: tuple[float, float] | None = (0.5, 0.5)
    argmax: bool = False
    binary: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The one name, ``focal``."""
        return ("focal",)

    def placed(self) -> "Focal":
        """Return the readout with its centre, in the middle of the frame if it is not known."""
        return self if self.centre else dataclasses.replace(self, centre=(0.5, 0.5))

    def __call__(
        self, patches: "Tensor", texts: "Tensor", goals: "Tensor", logit_scale: float
    ) -> "Tensor":
        """Return the mean of p × kernel, float32 ``[B, 1]``."""
        import torch

        if self.centre is None:
            raise RewardError(
                "bonus.centre: got 'agent', but this frame comes from no env that says where its "
                "agent is. Set centre: centre, or centre: [x, y]."
            )
        probability, leads = self.compare(patches, texts, goals, logit_scale)
        if self.argmax:
            probability = probability * leads
        if self.binary is not None:
            probability = (probability > self.binary).float()
        kernel = torch.as_tensor(_kernel(*patches.shape[1:3], self.centre), device=patches.device)
        return (probability * kernel).mean(dim=(1, 2))[:, None]


@lru_cache(maxsize=16)
def _kernel(height: int, width: int, centre: tuple[float, float]) -> npt.NDArray[np.float32]:
    """Return the kernel at the patches' centres, float32 ``[height, width]``."""
    x = ((np.arange(width) + 0.5) / width - centre[0]) / SIGMA
    y = ((np.arange(height) + 0.5) / height - centre[1]) / SIGMA
    kernel = np.exp(-(x**2 + y[:, None] ** 2) / 2)
    return np.asarray(kernel / kernel.max(), np.float32)
