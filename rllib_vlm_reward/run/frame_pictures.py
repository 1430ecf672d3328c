"""Draws frames with their goal and score, as a strip, a GIF or a PNG."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from rllib_vlm_reward.files import replaced_file
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.scored_steps import ScoredFrame
from rllib_vlm_reward.run.evaluator import Moment

__all__ = ["draw_highlights", "draw_moment", "lit", "save_frames", "save_video", "strip"]

SIDE, ABOVE, BELOW = 224, 44, 66
WHITE, GREEN, RED, GREY, DARK = (
    (255, 255, 255),
    (80, 220, 120),
    (240, 70, 60),
    (150, 150, 155),
    (24, 24, 28),
)
A_ROW, GAP = 4, 6
UNLIT = 0.25  # the share of light where a map is 0


def save_frames(path: Path, frames: Frames) -> None:
    """Save a picture, uint8 ``[H, W, 3]``, as a PNG."""
    with replaced_file(path) as fresh:
        Image.fromarray(frames).save(fresh)


def save_video(path: Path, moments: Sequence[Moment], threshold: float | None = None) -> None:
    """Save moments as a GIF with goals and scores; the last frame of each episode stays longer.

    Args:
        path: path of the GIF.
        moments: the frames, grouped by episode.
        threshold: β; None without a threshold.
    """
    images: list[Image.Image] = []
    durations: list[int] = []
    for _, episode in groupby(moments, key=lambda moment: moment.episode):
        drawn = [draw_moment(moment, threshold) for moment in episode]
        images += drawn
        durations += [250] * (len(drawn) - 1) + [1200]
    with replaced_file(path) as fresh:
        images[0].save(fresh, save_all=True, append_images=images[1:], duration=durations, loop=0)


def draw_moment(moment: Moment, threshold: float | None) -> Image.Image:
    """Draw an enlarged frame with its goal above, and its score, β and ground truth below.

    A map of the goal darkens the frame where the goal is not. The score is green if the reward
    fires. A success has a green border; a failure whose reward fires, a false positive, has a red
    one.

    Args:
        moment: the frame.
        threshold: β; None without a threshold.
    """
    score = moment.score
    fires = threshold is not None and score is not None and score > threshold
    image = Image.new("RGB", (SIDE, ABOVE + SIDE + BELOW), DARK)
    frame = moment.frame if moment.goal_map is None else lit(moment.frame, moment.goal_map)
    enlarged = Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    image.paste(enlarged, (0, ABOVE))
    pen, font = ImageDraw.Draw(image), _font()
    truth, color = _truth(moment.success, fires=fires)
    if color in (GREEN, RED):
        pen.rectangle((0, ABOVE, SIDE - 1, ABOVE + SIDE - 1), outline=color, width=5)
    for line, words in enumerate(_wrap(moment.goal, 30)[:2]):
        pen.text((6, 4 + 18 * line), words, fill=WHITE, font=font)
    under = ABOVE + SIDE
    beta = "" if threshold is None else f"  β {threshold:.3g}"
    scored = "" if score is None else f"  score {score:.3f}{beta}"
    pen.text((6, under + 4), f"step {moment.t}{scored}", fill=GREEN if fires else WHITE, font=font)
    if score is not None:
        _draw_bar(pen, under + 26, score, threshold, GREEN if fires else WHITE)
    pen.text((6, under + 42), truth, fill=color, font=font)
    return image


def lit(frame: Frames, goal_map: npt.NDArray[np.float32]) -> Frames:
    """Return a frame that is as bright as before where a map is 1, and dark where it is 0.

    Args:
        frame: uint8 ``[H, W, 3]``.
        goal_map: float32 ``[h, w, 1]``, from 0 to 1.

    Example:
        >>> frame = np.full((2, 4, 3), 200, np.uint8)
        >>> lit(frame, np.array([[[0.0], [1.0]]], np.float32))[0, :, 0]
        array([ 50,  50, 200, 200], dtype=uint8)
    """
    height, width = frame.shape[:2]
    rows = np.arange(height) * goal_map.shape[0] // height
    columns = np.arange(width) * goal_map.shape[1] // width
    light = UNLIT + (1 - UNLIT) * goal_map[rows][:, columns]
    return np.asarray((frame * light).round(), np.uint8)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Return a font of matplotlib, because the default font of Pillow has no β."""
    return ImageFont.truetype(findfont("DejaVu Sans"), 12)


def _truth(success: bool | None, *, fires: bool) -> tuple[str, tuple[int, int, int]]:
    """Return the ground truth of a frame as text, and the colour of the text."""
    if success is None:
        return "ground truth: unknown", GREY
    if success:
        return "ground truth: success", GREEN
    return ("ground truth: false positive", RED) if fires else ("ground truth: no success", GREY)


def _draw_bar(
    pen: ImageDraw.ImageDraw, top: int, score: float, threshold: float | None, color: Any
) -> None:
    """Draw a bar from 0 to 1, filled up to the score, with a line at β."""
    wide, bottom = SIDE - 12, top + 10
    pen.rectangle((6, top, SIDE - 6, bottom), outline=WHITE)
    pen.rectangle((6, top, 6 + round(wide * min(max(score, 0.0), 1.0)), bottom), fill=color)
    if threshold is not None and 0 <= threshold <= 1:
        place = 6 + round(wide * threshold)
        pen.line((place, top - 3, place, bottom + 3), fill=RED, width=2)


def strip(moments: Sequence[Moment], threshold: float | None, most: int = 8) -> Frames:
    """Return the first ``most`` moments in rows of four, uint8 ``[H, W, 3]``, for TensorBoard."""
    return _rows(moments[:most], threshold)


def draw_highlights(highlights: Sequence[ScoredFrame], threshold: float | None) -> Frames:
    """Return the highest-scored frames in rows of four, uint8 ``[H, W, 3]``; failures last."""
    failures_last = sorted(highlights, key=lambda frame: frame.success is False)
    return _rows([Moment(*frame) for frame in failures_last], threshold)


def _rows(moments: Iterable[Moment], threshold: float | None) -> Frames:
    images = [draw_moment(moment, threshold) for moment in moments]
    rows = -(-len(images) // A_ROW)
    wide, tall = images[0].size
    whole = Image.new("RGB", (min(len(images), A_ROW) * (wide + GAP), rows * tall), DARK)
    for number, image in enumerate(images):
        whole.paste(image, (number % A_ROW * (wide + GAP), number // A_ROW * tall))
    return np.asarray(whole)


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
