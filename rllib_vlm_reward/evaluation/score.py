"""Scores of image files against goals."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.images import decode, read_image
from rllib_vlm_reward.evaluation.models import load_model
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.heads import head_summary
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores, pay

__all__ = ["ImageScores", "score_images"]


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """Scores of I images against G goals.

    Attributes:
        config: the reward.
        weights: SHA-256 of the CLIP's weights.
        images: the files, I paths.
        values: float32 ``[I, G]``, in the head's range.
    """

    config: VLMRewardConfig
    weights: str
    images: tuple[Path, ...]
    values: Scores

    @property
    def goals(self) -> tuple[str, ...]:
        """The goals' texts, G of them."""
        return self.config.goal_set.texts

    @property
    def fires(self) -> npt.NDArray[np.bool_]:
        """Where the reward is 1, bool ``[I, G]``; all False without a threshold."""
        threshold = self.config.threshold_in_force
        if threshold is None:
            return np.zeros(self.values.shape, np.bool_)
        return pay(self.values, threshold).astype(np.bool_)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON; with a threshold also where each reward is 1."""
        return {
            "encoder": self.config.encoder,
            "weights": self.weights,
            "head": head_summary(self.config.head_in_force),
            "threshold": self.config.threshold_in_force,
            "images": [self._row(number) for number in range(len(self.images))],
        }

    def _row(self, number: int) -> dict[str, Any]:
        scores = dict(zip(self.goals, self.values[number].tolist(), strict=True))
        row: dict[str, Any] = {"image": str(self.images[number]), "scores": scores}
        if self.config.threshold_in_force is not None:
            row["fires"] = dict(zip(self.goals, self.fires[number].tolist(), strict=True))
        return row


def score_images(
    config: VLMRewardConfig, images: Sequence[Path], *, device: str = "cpu"
) -> ImageScores:
    """Score each image file, alone, against each goal of a reward.

    Images may differ in size. All are read before the CLIP is loaded. Ray is not started.

    Args:
        config: the reward: encoder, goals, head, threshold.
        images: I files that Pillow reads, see :func:`.decode`.
        device: where the CLIP computes, such as ``"cpu"`` or ``"cuda"``.

    Raises:
        FrameError: a file does not exist, or is no image.
        LabelError: the reward's calibration was made with other weights.
        CheckpointError, GoalError, RewardError: see :meth:`.CLIPEncoder.load` and
            :meth:`.RewardModel.score`.

    Example:
        >>> import tempfile
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key|box}"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "black.png")
        ...     _ = path.write_bytes(encode(np.zeros((8, 6, 3), np.uint8)))
        ...     scores = score_images(config, [path])
        >>> scores.goals, scores.values.shape
        (('a ball', 'a key', 'a box'), (1, 3))
    """
    contents = [read_image(path)[0] for path in images]
    model, scorer = load_model(config, frames=1, device=device), config.scorer
    weights = model.encoder.fingerprint
    config.check_weights(weights)
    rows = [
        _against_each_goal(model, scorer, decode(content, str(path)))
        for content, path in zip(contents, images, strict=True)
    ]
    return ImageScores(config, weights, tuple(images), np.stack(rows))


def _against_each_goal(model: RewardModel, scorer: Scorer, frame: Frames) -> Scores:
    """Score a frame against each goal, float32 ``[G]``; the model encodes the frame once."""
    scores = [
        model.score(frame[None], np.array([goal]), scorer) for goal in range(len(scorer.goals))
    ]
    return np.concatenate(scores)
