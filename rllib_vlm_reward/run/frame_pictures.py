"""Draws scored frames with their goal and score, as a strip, a GIF or a PNG."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.scored_steps import ScoredFrame
from rllib_vlm_reward.run.evaluator import Moment

__all__ = ["draw_highlights", "draw_moment", "save_frames", "save_video", "strip"]

SIDE, BAND = 224, 44
WHITE, GREEN, RED, DARK = (255, 255, 255), (80, 220, 120), (240, 70, 60), (24, 24, 28)


def save_frames(path: Path, frames: Frames) -> None:
    """Save a picture, uint8 ``[H, W, 3]``, as a PNG."""
    Image.fromarray(frames).save(path)


def save_video(path: Path, moments: Sequence[Moment], threshold: float | None) -> None:
    """Save moments as a GIF with goals and scores; the last frame of each episode stays longer.

    Args:
        path: path of the GIF.
        moments: the scored frames, grouped by episode.
        threshold: β; None without a threshold.
    """
    images: list[Image.Image] = []
    durations: list[int] = []
    for _, episode in groupby(moments, key=lambda moment: moment.episode):
        drawn = [draw_moment(moment, threshold) for moment in episode]
        images += drawn
        durations += [250] * (len(drawn) - 1) + [1200]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def draw_moment(
    moment: Moment, threshold: float | None, success: bool | None = None
) -> Image.Image:
    """Draw an enlarged frame with its goal above and its score below.

    Args:
        moment: the scored frame.
        threshold: β; a score above it is drawn in green.
        success: draws a green border for a success, a red one for a failure, none for None.
    """
    frame = Image.fromarray(moment.frame).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    image = Image.new("RGB", (SIDE, SIDE + 2 * BAND), DARK)
    image.paste(frame, (0, BAND))
    if success is not None:
        edge = GREEN if success else RED
        ImageDraw.Draw(image).rectangle((0, BAND, SIDE - 1, BAND + SIDE - 1), outline=edge, width=5)
    fired = threshold is not None and moment.score > threshold
    pen, color = ImageDraw.Draw(image), GREEN if fired else WHITE
    font = ImageFont.load_default(size=14)
    for line, words in enumerate(_wrap(moment.goal, 30)[:2]):
        pen.text((6, 4 + 18 * line), words, fill=WHITE, font=font)
    pen.text((6, SIDE + BAND + 4), f"t={moment.t}  score {moment.score:.3f}", fill=color, font=font)
    bar = round((SIDE - 12) * min(max(moment.score, 0.0), 1.0))
    pen.rectangle((6, SIDE + BAND + 26, SIDE - 6, SIDE + BAND + 36), outline=WHITE)
    pen.rectangle((6, SIDE + BAND + 26, 6 + bar, SIDE + BAND + 36), fill=color)
    return image


def strip(moments: Sequence[Moment], threshold: float | None, most: int = 8) -> Frames:
    """Return the first ``most`` moments side by side, uint8 ``[H, W, 3]``, for TensorBoard."""
    images: list[Any] = [np.asarray(draw_moment(m, threshold)) for m in moments[:most]]
    return np.concatenate(images, axis=1)


def draw_highlights(highlights: Sequence[ScoredFrame], threshold: float | None) -> Frames:
    """Return the highest-scored frames side by side, uint8 ``[H, W, 3]``, with success borders."""
    images = [draw_moment(Moment(*it[:5]), threshold, it.success) for it in highlights]
    return np.concatenate([np.asarray(image) for image in images], axis=1)


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
