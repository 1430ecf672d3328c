"""An error, not an alarm: scores that never change, as with wrong weights or a saturated head."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.frames import Frames

__all__ = ["ConstancyCheck", "ConstancyChecks"]

MIN_FRAMES = 256


class ConstancyCheck:
    """Compares the scores of different frames, until two scores differ.

    Args:
        may_be_constant: report no error, for a head that gives 0 to most frames.

    Example:
        >>> check = ConstancyCheck()
        >>> check.see_frames(np.arange(256 * 12, dtype=np.uint8).reshape(256, 2, 2, 3))
        >>> check.see_scores(np.full(256, 0.5, np.float32))
        'scores: got 0.5 for each of 256 frames, expected different scores for different frames. \
Check the encoder and its weights, the prompts and the temperature.'
        >>> check.see_scores(np.full(256, 0.5, np.float32)) is None  # reported only once
        True
    """

    def __init__(self, *, may_be_constant: bool = False) -> None:
        self._settled = may_be_constant
        self._frames_differ = False
        self._frame: Frames | None = None
        self._score: float | None = None
        self._count = 0

    def see_frames(self, frames: Frames | Sequence[Frames]) -> None:
        """Compare B frames, each uint8 ``[H, W, 3]``, with the first one."""
        if self._settled or self._frames_differ:
            return
        if self._frame is None:
            self._frame = frames[0].copy()
        self._frames_differ = any(not np.array_equal(frame, self._frame) for frame in frames)

    def see_scores(self, scores: npt.NDArray[np.float32]) -> str | None:
        """Compare scores, float32 ``[B]``, with the first one; return the error, if any."""
        if self._settled:
            return None
        if self._score is None:
            self._score = float(scores[0])
        self._count += len(scores)
        if (scores != self._score).any():
            self._settled = True
        elif self._count >= MIN_FRAMES and self._frames_differ:
            self._settled = True
            return (
                f"scores: got {self._score:g} for each of {self._count} frames, expected "
                "different scores for different frames. Check the encoder and its weights, the "
                "prompts and the temperature."
            )
        return None


class ConstancyChecks:
    """A :class:`ConstancyCheck` of a reward, or of each of its experts.

    Args:
        config: the reward.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        self._checks = {
            name: (
                config.sources.index(each.frames.source),
                ConstancyCheck(may_be_constant=each.head.may_be_constant),
            )
            for name, each in config.by_expert.items()
        }

    def see_frames(self, views: Sequence[Frames | Sequence[Frames]]) -> None:
        """Compare B frames of each frame source, ``config.sources``."""
        for source, check in self._checks.values():
            check.see_frames(views[source])

    def see_scores(self, answer: npt.NDArray[np.float32]) -> str | None:
        """Compare scores, float32 ``[B]``, or the experts' of :meth:`.Panel.answer`.

        Returns:
            The error, if any. An expert that did not answer has none.
        """
        errors = []
        for place, (name, (_, check)) in enumerate(self._checks.items()):
            scores = answer[:, 2 + place] if name else answer
            scores = scores[~np.isnan(scores)]
            error = check.see_scores(scores) if len(scores) else None
            if error is not None:
                errors.append(f"expert {name!r}: {error}" if name else error)
        return " ".join(errors) or None
