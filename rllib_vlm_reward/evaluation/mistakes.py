"""The most wrong frames of a reward."""

import base64
import dataclasses
import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

from rllib_vlm_reward.evaluation.judged import Judged
from rllib_vlm_reward.frames import Frames

__all__ = ["Mistake", "data_uri", "false_negatives", "false_positives", "png_uri"]

_SIDE = 224


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A frame that scores too high, or too low.

    Attributes:
        frame: uint8 ``[H, W, 3]``.
        fires: whether the reward is paid.
    """

    frame: Frames
    goal: str
    score: float
    episode: str
    step: int
    fires: bool


def false_positives(judged: Judged, most: int = 12) -> list[Mistake]:
    """Return the frames without success that score highest, the highest first; none twice.

    Example:
        >>> import numpy as np
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.judged import judge
        >>> from rllib_vlm_reward.evaluation.labelled import LabelledFrames, encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> black = encode(np.zeros((8, 8, 3), np.uint8))
        >>> frames = LabelledFrames.of([black] * 3, ["a ball"] * 3, [True, False, False])
        >>> len(false_positives(judge(config, frames)))
        1
    """
    return _first(judged, np.argsort(-judged.scores, kind="stable"), success=False, most=most)


def false_negatives(judged: Judged, most: int = 12) -> list[Mistake]:
    """Return the successes that score lowest, the lowest first; none twice."""
    return _first(judged, np.argsort(judged.scores, kind="stable"), success=True, most=most)


def _first(judged: Judged, order: Iterable[int], *, success: bool, most: int) -> list[Mistake]:
    frames = judged.frames
    found: dict[tuple[str, bytes], int] = {}
    for row in order:
        if len(found) == most:
            break
        if frames.labels[row] == success:
            found.setdefault((frames.goals[row], frames.images[row]), int(row))
    return [
        Mistake(
            frame=frames.frames([row])[0],
            goal=frames.goals[row],
            score=float(judged.scores[row]),
            episode=frames.episodes[row],
            step=int(frames.steps[row]),
            fires=bool(judged.scores[row] > judged.threshold),
        )
        for row in found.values()
    ]


def data_uri(frame: Frames) -> str:
    """Return a picture, uint8 ``[H, W, 3]``, as a PNG within a URI; larger ones are made small.

    Example:
        >>> import numpy as np
        >>> data_uri(np.zeros((8, 8, 3), np.uint8))[:22]
        'data:image/png;base64,'
    """
    image, buffer = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE))
    image.save(buffer, "PNG")
    return png_uri(buffer.getvalue())


def png_uri(content: bytes) -> str:
    """Return a PNG file's content as a URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
