"""The cosines of frames with every statement of a goal set, and the softmax over a goal's own."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

__all__ = ["OF_SOFTMAX", "Cosines"]

OF_SOFTMAX = ("softmax", "dense")
"""The heads whose score comes of that softmax, and which have a temperature."""


@dataclasses.dataclass(frozen=True)
class Cosines:
    """N frames against S statements.

    Attributes:
        statements: of the goal set, S texts.
        values: float32 ``[N, S]``, in [-1, 1].
        own: each frame's goal's prompt, as a statement's index, ``[N]``.
        weighed: the goal's L of the paper's equation 1, the prompt and its negatives, bool
            ``[N, S]``.
        temperature: the model's own τ.

    Example:
        >>> from rllib_vlm_reward.goals import GoalSet
        >>> from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
        >>> from rllib_vlm_reward.reward_model.heads import Softmax
        >>> goals = GoalSet.from_texts(["a red ball", "a blue ball"], negatives=["a key"])
        >>> frames = np.zeros((2, 8, 8, 3), np.uint8)
        >>> model = RewardModel(CLIPEncoder.load("small"))
        >>> cosines = Cosines.of(model, Scorer(goals, Softmax()), np.array([0, 1]), [frames])
        >>> cosines.probabilities().sum(axis=1).round(3)
        array([1., 1.], dtype=float32)
    """

    statements: tuple[str, ...]
    values: npt.NDArray[np.float32]
    own: npt.NDArray[np.intp]
    weighed: npt.NDArray[np.bool_]
    temperature: float

    @classmethod
    def of(
        cls,
        model: RewardModel,
        scorer: Scorer,
        indices: npt.NDArray[np.integer],
        batches: Iterable[Frames],
    ) -> "Cosines":
        """Encode frames in batches of uint8 ``[B, H, W, 3]``; ``indices`` are their goals."""
        goals = scorer.goals
        columns = {text: column for column, text in enumerate(goals.statements)}
        weighed = np.zeros((len(goals), len(columns)), np.bool_)
        for row, goal in enumerate(goals.goals):
            weighed[row, [columns[text] for text in (goal.prompt, *goal.negatives)]] = True
        texts = model.embed_texts(goals.statements)
        images = [model.embed_frames(frames, scorer) for frames in batches]
        own = np.array([columns[goal.prompt] for goal in goals.goals])
        return cls(
            goals.statements,
            np.concatenate(images) @ texts.T,
            own[indices],
            weighed[indices],
            1 / model.encoder.logit_scale,
        )

    def probabilities(self, temperature: float | None = None) -> npt.NDArray[np.float32]:
        """Return the softmax over L at a τ, 0 for other statements, float32 ``[N, S]``."""
        scaled = self.values / np.float32(temperature or self.temperature)
        return np.asarray(softmax(np.where(self.weighed, scaled, -np.inf), axis=1))
