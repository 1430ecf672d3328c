"""Cosines of frames with every statement of a goal set, and the softmax over some of them."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

__all__ = ["Cosines"]


@dataclasses.dataclass(frozen=True)
class Cosines:
    """N frames against S statements.

    Attributes:
        statements: the S statements of the goal set.
        values: float32 ``[N, S]``, in [-1, 1].
        prompt_index: index of the statement that is the prompt of each frame's goal, ``[N]``.
        is_compared: which statements are in L of the paper's equation 1: the prompt and the
            negatives of each frame's goal, bool ``[N, S]``.
        temperature: τ of the model.

    Example:
        >>> from rllib_vlm_reward.goals import GoalSet
        >>> from rllib_vlm_reward.reward_model.clip import CLIPEncoder
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
    prompt_index: npt.NDArray[np.intp]
    is_compared: npt.NDArray[np.bool_]
    temperature: float

    @classmethod
    def of(
        cls,
        model: RewardModel,
        scorer: Scorer,
        indices: npt.NDArray[np.integer],
        batches: Iterable[Frames],
    ) -> "Cosines":
        """Encode frames and statements.

        Args:
            model: the CLIP.
            scorer: the goals.
            indices: each frame's goal, ``[N]``.
            batches: the N frames in batches, uint8 ``[B, H, W, 3]``.
        """
        goals = scorer.goals
        columns = {text: column for column, text in enumerate(goals.statements)}
        is_compared = np.zeros((len(goals), len(columns)), np.bool_)
        for row, goal in enumerate(goals.goals):
            is_compared[row, [columns[text] for text in (goal.prompt, *goal.negatives)]] = True
        texts = model.embed_texts(goals.statements)
        images = [model.embed_frames(frames, scorer) for frames in batches]
        prompt_index = np.array([columns[goal.prompt] for goal in goals.goals])
        return cls(
            goals.statements,
            np.concatenate(images) @ texts.T,
            prompt_index[indices],
            is_compared[indices],
            1 / model.encoder.logit_scale,
        )

    def probabilities(self, temperature: float | None = None) -> npt.NDArray[np.float32]:
        """Return the softmax over L, 0 for other statements, float32 ``[N, S]``.

        Args:
            temperature: τ; None takes the model's.
        """
        scaled = self.values / np.float32(temperature or self.temperature)
        return np.asarray(softmax(np.where(self.is_compared, scaled, -np.inf), axis=1))
