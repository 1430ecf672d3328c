"""A head that holds an array, where the actors find it."""

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

from rllib_vlm_reward.reward_model.heads import Head


@dataclasses.dataclass(frozen=True, eq=False)
class Weighted(Head):
    """The cosine in a space whose axes are weighted."""

    range = (-1.0, 1.0)

    weights: npt.NDArray[np.float32]

    def __call__(self, images, bank, goals):
        return (images * torch.from_numpy(self.weights) * bank.goal(goals)).sum(dim=1)
