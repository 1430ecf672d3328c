"""The training set: distinct views, what holds in each, and how often each is drawn."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.envs.babyai.tiles import View
from rllib_vlm_reward.pretraining.play import play
from rllib_vlm_reward.pretraining.statements import Truth, truth

__all__ = ["Dataset"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Views with their truth.

    Attributes:
        views: uint8 ``[N, 7, 7, 3]``, no two alike.
        holds: see :data:`~rllib_vlm_reward.pretraining.statements.Truth`.
        weights: float64 ``[N]``, the chance of drawing each; they sum to 1.

    Example:
        >>> data = Dataset.from_play(200)
        >>> views, holds = data.sample(8, np.random.default_rng(0))
        >>> views.shape, holds["lift"].shape
        ((8, 7, 7, 3), (8, 19))
    """

    views: View
    holds: Truth
    weights: npt.NDArray[np.float64]

    @classmethod
    def from_play(
        cls, num_frames: int, *, seed: int = 0, reserved: Sequence[str] = ()
    ) -> "Dataset":
        """Play until there are N frames, and keep each distinct view once (about two thirds)."""
        played = play(num_frames, seed=seed, reserved=reserved)
        views = played[np.sort(np.unique(_whole(played), return_index=True)[1])]
        holds = truth(views)
        return cls(views, holds, _balance(holds))

    def sample(self, size: int, rng: np.random.Generator) -> tuple[View, Truth]:
        """Draw views by their weights, with replacement."""
        rows = rng.choice(len(self.views), size, p=self.weights)
        return self.views[rows], {family: held[rows] for family, held in self.holds.items()}

    def share_of(self, views: View) -> float:
        """Return the share of some views that are among these, to the pixel."""
        return float(np.isin(_whole(views), _whole(self.views)).mean())


def _whole(views: View) -> npt.NDArray[np.void]:
    """Return each view as one value, void ``[N]``."""
    flat = np.ascontiguousarray(views).reshape(len(views), -1)
    return flat.view(np.dtype((np.void, flat.shape[1])))[:, 0]


def _balance(holds: Truth) -> npt.NDArray[np.float64]:
    """Weigh each view by its rarest statements, so that "nothing" is not all that is seen.

    A statement counts 1/√n for the n views in which it holds: half way, on a log scale, between
    the frames' own shares and equal shares for every statement.
    """
    weights = np.zeros(len(next(iter(holds.values()))))
    for held in holds.values():
        rarity = held.sum(axis=0).clip(min=1) ** -0.5
        weights += (held * (rarity / rarity.mean())).max(axis=1)
    normalised: npt.NDArray[np.float64] = weights / weights.sum()
    return normalised
