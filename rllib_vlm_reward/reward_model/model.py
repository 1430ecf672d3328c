"""The reward model: frames and goals in, scores out."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from rllib_vlm_reward.errors import GoalError, RewardError
from rllib_vlm_reward.frames import Frames, check_frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.bank import TextBank
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores

__all__ = ["RewardModel"]

_BANKS_KEPT = 64  # the goals of many agents, and of runs that share an actor


class RewardModel:
    """Scores frames against goals with one CLIP.

    Example:
        >>> from rllib_vlm_reward.reward_model.heads import Softmax
        >>> model = RewardModel(CLIPEncoder.load("small"))
        >>> scorer = Scorer(GoalSet.from_texts(["a ball", "a key"]), Softmax())
        >>> scores = model.score(np.zeros((3, 64, 64, 3), np.uint8), np.array([0, 1, 1]), scorer)
        >>> scores.dtype, scores.shape
        (dtype('float32'), (3,))
    """

    def __init__(self, encoder: CLIPEncoder) -> None:
        self.encoder = encoder
        self._banks: OrderedDict[str, TextBank] = OrderedDict()

    @torch.inference_mode()
    def score(self, frames: Frames, goals: npt.NDArray[np.integer], scorer: Scorer) -> Scores:
        """Score each frame against its own goal.

        Args:
            frames: uint8 ``[B, H, W, 3]``.
            goals: integer ``[B]``, each frame's goal in ``scorer.goals``.
            scorer: the goals and the head.

        Returns:
            float32 ``[B]``, in the head's range.

        Raises:
            FrameError: anything but a batch of uint8 RGB frames.
            GoalError: indices of another type, shape or range.
            RewardError: a score that is not finite, or a head that the model or goals forbid.
        """
        check_frames(frames)
        _check_indices(goals, len(frames), scorer.goals)
        bank = self._bank(scorer.goals)
        images = self.encoder.encode_images(frames)
        indices = torch.from_numpy(goals.astype(np.int64)).to(images.device)
        scores: Scores = scorer.head(images, bank, indices).float().cpu().numpy()
        finite = np.isfinite(scores)
        if not finite.all():
            first = int(np.argmin(finite))
            raise RewardError(
                f"score: {int((~finite).sum())} of {len(scores)} scores are not finite; frame "
                f"{first}, goal {scorer.goals[int(goals[first])].text!r} got {scores[first]}. "
                "Expected finite scores. Try precision fp32, or another temperature; a goal "
                "whose text CLIP cannot tell from its baseline has no line between them."
            )
        return scores

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed texts: N strings to float32 ``[N, D]``, unit norm."""
        embeddings: npt.NDArray[np.float32] = self.encoder.encode_texts(texts).cpu().numpy()
        return embeddings

    def _bank(self, goals: GoalSet) -> TextBank:
        bank = self._banks.pop(goals.fingerprint, None) or TextBank.encode(goals, self.encoder)
        self._banks[goals.fingerprint] = bank
        if len(self._banks) > _BANKS_KEPT:
            self._banks.popitem(last=False)
        return bank


def _check_indices(goals: npt.NDArray[np.integer], size: int, known: GoalSet) -> None:
    got = f"{goals.dtype} {list(goals.shape)}" if isinstance(goals, np.ndarray) else type(goals)
    expected = f"expected an integer array [{size}], one goal index for each frame"
    if not isinstance(goals, np.ndarray) or goals.dtype.kind not in "iu":
        raise GoalError(f"goals: got {got}, {expected}. GoalSet.index gives a text's index.")
    if goals.shape != (size,):
        raise GoalError(f"goals: got {got}, {expected}.")
    given: list[int] = goals.tolist()
    if given and not (min(given) >= 0 and max(given) < len(known)):
        raise GoalError(
            f"goals: got indices {min(given)} to {max(given)}, expected 0 to {len(known) - 1}. "
            "Score with the goal set that the indices were taken from."
        )
