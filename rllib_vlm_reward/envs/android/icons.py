"""Draws the icon of an app: a shape with a glyph, in the app's two colours."""

import math
from collections.abc import Callable
from functools import lru_cache

from PIL import Image

from rllib_vlm_reward.envs.android.apps import COLORS, App
from rllib_vlm_reward.envs.android.pen import Color, Pen, Point

__all__ = ["GLYPHS", "SHAPES", "draw_glyph", "draw_icon"]

_OVERSAMPLING = 8
_RIM: Color = (255, 255, 255)


def _around(corners: int, radius: float, turn: float = 0.0) -> list[Point]:
    """Return the corners of a regular polygon around the middle of the unit square."""
    angles = [2 * math.pi * (index / corners + turn) for index in range(corners)]
    return [(0.5 + radius * math.sin(a), 0.5 - radius * math.cos(a)) for a in angles]


SHAPES: dict[str, Callable[[Pen, float, Color], None]] = {
    "circle": lambda pen, size, color: pen.disc(0.5, 0.5, 0.5 * size, color),
    "square": lambda pen, size, color: pen.box(
        0.5 - 0.46 * size, 0.5 - 0.46 * size, 0.5 + 0.46 * size, 0.5 + 0.46 * size, color, 0.16
    ),
    "diamond": lambda pen, size, color: pen.polygon(_around(4, 0.5 * size), color),
    "hexagon": lambda pen, size, color: pen.polygon(_around(6, 0.5 * size), color),
    "octagon": lambda pen, size, color: pen.polygon(_around(8, 0.5 * size, 1 / 16), color),
}
"""Shapes of icons: each is filled around the middle of the unit square, in a size up to 1."""

Glyph = Callable[[Pen, Color, Color], None]


def _bars(pen: Pen, ink: Color, ground: Color) -> None:
    for x, top in ((0.28, 0.55), (0.44, 0.42), (0.6, 0.28)):
        pen.box(x, top, x + 0.12, 0.72, ink)


def _bed(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.22, 0.3, 0.3, 0.72, ink)
    pen.box(0.22, 0.52, 0.78, 0.64, ink)
    pen.box(0.7, 0.52, 0.78, 0.72, ink)
    pen.disc(0.4, 0.44, 0.08, ink)


def _bag(pen: Pen, ink: Color, ground: Color) -> None:
    pen.ring(0.5, 0.4, 0.15, 0.06, ink)
    pen.polygon(((0.28, 0.42), (0.72, 0.42), (0.77, 0.75), (0.23, 0.75)), ink)


def _bolt(pen: Pen, ink: Color, ground: Color) -> None:
    pen.polygon(
        ((0.56, 0.2), (0.32, 0.54), (0.48, 0.54), (0.42, 0.8), (0.68, 0.44), (0.52, 0.44)), ink
    )


def _book(pen: Pen, ink: Color, ground: Color) -> None:
    pen.polygon(((0.2, 0.3), (0.48, 0.36), (0.48, 0.74), (0.2, 0.68)), ink)
    pen.polygon(((0.8, 0.3), (0.52, 0.36), (0.52, 0.74), (0.8, 0.68)), ink)


def _brush(pen: Pen, ink: Color, ground: Color) -> None:
    pen.line(((0.68, 0.28), (0.44, 0.54)), 0.1, ink)
    pen.disc(0.38, 0.62, 0.12, ink)


def _bubble(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.24, 0.28, 0.76, 0.62, ink, 0.1)
    pen.polygon(((0.32, 0.58), (0.5, 0.58), (0.32, 0.76)), ink)


def _bulb(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.5, 0.42, 0.18, ink)
    pen.box(0.42, 0.54, 0.58, 0.76, ink)
    pen.line(((0.38, 0.65), (0.62, 0.65)), 0.04, ground)


def _buttons(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.28, 0.24, 0.72, 0.38, ink)
    for row in range(2):
        for column in range(3):
            pen.disc(0.34 + 0.16 * column, 0.52 + 0.18 * row, 0.065, ink)


def _car(pen: Pen, ink: Color, ground: Color) -> None:
    pen.polygon(((0.34, 0.32), (0.66, 0.32), (0.74, 0.5), (0.26, 0.5)), ink)
    pen.box(0.22, 0.46, 0.78, 0.64, ink, 0.04)
    pen.disc(0.34, 0.66, 0.08, ink)
    pen.disc(0.66, 0.66, 0.08, ink)


def _check(pen: Pen, ink: Color, ground: Color) -> None:
    pen.line(((0.26, 0.52), (0.43, 0.68), (0.75, 0.32)), 0.12, ink)


def _checker(pen: Pen, ink: Color, ground: Color) -> None:
    for row in range(4):
        for column in range(4):
            if (row + column) % 2 == 0:
                x, y = 0.26 + 0.12 * column, 0.26 + 0.12 * row
                pen.box(x, y, x + 0.12, y + 0.12, ink)


def _dots(pen: Pen, ink: Color, ground: Color) -> None:
    for x in (0.3, 0.5, 0.7):
        pen.disc(x, 0.5, 0.08, ink)


def _drum(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.26, 0.44, 0.74, 0.72, ink, 0.05)
    pen.line(((0.26, 0.52), (0.74, 0.52)), 0.05, ground)
    pen.line(((0.24, 0.24), (0.46, 0.4)), 0.06, ink)
    pen.line(((0.76, 0.24), (0.54, 0.4)), 0.06, ink)


def _envelope(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.22, 0.32, 0.78, 0.7, ink)
    pen.line(((0.22, 0.34), (0.5, 0.54), (0.78, 0.34)), 0.06, ground)


def _flower(pen: Pen, ink: Color, ground: Color) -> None:
    for x, y in _around(5, 0.18):
        pen.disc(x, y, 0.12, ink)
    pen.disc(0.5, 0.5, 0.09, ground)


def _folder(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.24, 0.3, 0.48, 0.44, ink)
    pen.box(0.24, 0.37, 0.76, 0.7, ink)


def _frame(pen: Pen, ink: Color, ground: Color) -> None:
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = 0.5 + 0.24 * sx, 0.5 + 0.24 * sy
            pen.line(((x - 0.14 * sx, y), (x, y), (x, y - 0.14 * sy)), 0.07, ink)
    pen.line(((0.24, 0.5), (0.76, 0.5)), 0.06, ink)


def _gear(pen: Pen, ink: Color, ground: Color) -> None:
    for (x, y), (dx, dy) in zip(_around(8, 0.2), _around(8, 0.3), strict=True):
        pen.line(((x, y), (dx, dy)), 0.11, ink)
    pen.disc(0.5, 0.5, 0.22, ink)
    pen.disc(0.5, 0.5, 0.1, ground)


def _globe(pen: Pen, ink: Color, ground: Color) -> None:
    pen.ring(0.5, 0.5, 0.3, 0.06, ink)
    pen.line(((0.5, 0.2), (0.5, 0.8)), 0.06, ink)
    pen.line(((0.2, 0.5), (0.8, 0.5)), 0.06, ink)


def _grid(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.24, 0.22, 0.76, 0.36, ink)
    for row in range(2):
        for column in range(3):
            x, y = 0.25 + 0.18 * column, 0.44 + 0.18 * row
            pen.box(x, y, x + 0.13, y + 0.13, ink)


def _hands(pen: Pen, ink: Color, ground: Color) -> None:
    pen.ring(0.5, 0.5, 0.34, 0.07, ink)
    pen.line(((0.5, 0.28), (0.5, 0.5), (0.66, 0.58)), 0.08, ink)


def _handset(pen: Pen, ink: Color, ground: Color) -> None:
    pen.line(((0.32, 0.32), (0.36, 0.5), (0.5, 0.64), (0.68, 0.68)), 0.1, ink)
    pen.disc(0.33, 0.32, 0.1, ink)
    pen.disc(0.68, 0.67, 0.1, ink)


def _heart(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.4, 0.42, 0.13, ink)
    pen.disc(0.6, 0.42, 0.13, ink)
    pen.polygon(((0.28, 0.47), (0.72, 0.47), (0.5, 0.75)), ink)


def _keys(pen: Pen, ink: Color, ground: Color) -> None:
    for x in (0.22, 0.42, 0.62):
        pen.box(x, 0.26, x + 0.14, 0.74, ink)
    pen.box(0.18, 0.74, 0.82, 0.8, ink)


def _leaf(pen: Pen, ink: Color, ground: Color) -> None:
    pen.polygon(((0.72, 0.26), (0.7, 0.56), (0.5, 0.7), (0.34, 0.62), (0.34, 0.42)), ink)
    pen.line(((0.26, 0.76), (0.6, 0.42)), 0.06, ground)
    pen.line(((0.26, 0.76), (0.4, 0.62)), 0.06, ink)


def _lens(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.22, 0.34, 0.78, 0.72, ink, 0.06)
    pen.box(0.4, 0.26, 0.6, 0.36, ink)
    pen.disc(0.5, 0.53, 0.13, ground)


def _letter(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.36, 0.24, 0.46, 0.78, ink)
    pen.ring(0.52, 0.4, 0.17, 0.09, ink)


def _lines(pen: Pen, ink: Color, ground: Color) -> None:
    for y, right in ((0.28, 0.74), (0.44, 0.74), (0.6, 0.56)):
        pen.box(0.26, y, right, y + 0.09, ink)


def _mic(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.41, 0.22, 0.59, 0.56, ink, 0.09)
    pen.line(((0.32, 0.48), (0.36, 0.62), (0.64, 0.62), (0.68, 0.48)), 0.06, ink)
    pen.line(((0.5, 0.62), (0.5, 0.78)), 0.07, ink)


def _moon(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.5, 0.5, 0.24, ink)
    pen.disc(0.6, 0.43, 0.2, ground)


def _needle(pen: Pen, ink: Color, ground: Color) -> None:
    pen.polygon(((0.5, 0.16), (0.6, 0.5), (0.4, 0.5)), ink)
    pen.ring(0.5, 0.6, 0.16, 0.07, ink)


def _note(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.38, 0.68, 0.11, ink)
    pen.box(0.42, 0.26, 0.5, 0.68, ink)
    pen.polygon(((0.42, 0.24), (0.7, 0.3), (0.7, 0.44), (0.42, 0.38)), ink)


def _paw(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.5, 0.6, 0.16, ink)
    for x, y in ((0.29, 0.47), (0.42, 0.32), (0.58, 0.32), (0.71, 0.47)):
        pen.disc(x, y, 0.075, ink)


def _person(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.5, 0.36, 0.14, ink)
    pen.polygon(((0.26, 0.74), (0.34, 0.56), (0.66, 0.56), (0.74, 0.74)), ink)


def _piece(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.32, 0.38, 0.68, 0.74, ink)
    pen.disc(0.5, 0.34, 0.09, ink)
    pen.disc(0.34, 0.56, 0.09, ground)


def _pin(pen: Pen, ink: Color, ground: Color) -> None:
    pen.disc(0.5, 0.4, 0.19, ink)
    pen.polygon(((0.33, 0.48), (0.67, 0.48), (0.5, 0.82)), ink)
    pen.disc(0.5, 0.4, 0.08, ground)


def _plane(pen: Pen, ink: Color, ground: Color) -> None:
    pen.line(((0.5, 0.2), (0.5, 0.76)), 0.1, ink)
    pen.polygon(((0.5, 0.36), (0.82, 0.58), (0.5, 0.54), (0.18, 0.58)), ink)
    pen.polygon(((0.5, 0.66), (0.64, 0.78), (0.36, 0.78)), ink)


def _play(pen: Pen, ink: Color, ground: Color) -> None:
    pen.polygon(((0.38, 0.28), (0.72, 0.5), (0.38, 0.72)), ink)


def _pot(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.28, 0.46, 0.72, 0.72, ink, 0.06)
    pen.box(0.2, 0.48, 0.8, 0.55, ink)
    pen.line(((0.4, 0.26), (0.4, 0.38)), 0.05, ink)
    pen.line(((0.58, 0.26), (0.58, 0.38)), 0.05, ink)


def _question(pen: Pen, ink: Color, ground: Color) -> None:
    pen.line(((0.36, 0.36), (0.44, 0.26), (0.58, 0.28), (0.62, 0.4), (0.5, 0.56)), 0.1, ink)
    pen.disc(0.5, 0.72, 0.07, ink)


def _star(pen: Pen, ink: Color, ground: Color) -> None:
    outer, inner = _around(5, 0.32), _around(5, 0.13, 0.1)
    pen.polygon([it for pair in zip(outer, inner, strict=True) for it in pair], ink)


def _sun(pen: Pen, ink: Color, ground: Color) -> None:
    for start, end in zip(_around(8, 0.2), _around(8, 0.34), strict=True):
        pen.line((start, end), 0.06, ink)
    pen.disc(0.5, 0.5, 0.17, ink)


def _ticket(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.2, 0.36, 0.8, 0.66, ink)
    pen.disc(0.2, 0.51, 0.07, ground)
    pen.disc(0.8, 0.51, 0.07, ground)
    pen.line(((0.6, 0.38), (0.6, 0.64)), 0.04, ground)


def _ticks(pen: Pen, ink: Color, ground: Color) -> None:
    pen.box(0.2, 0.4, 0.8, 0.62, ink)
    for index, x in enumerate((0.28, 0.38, 0.48, 0.58, 0.68)):
        pen.box(x, 0.4, x + 0.04, 0.56 if index % 2 else 0.5, ground)


def _waves(pen: Pen, ink: Color, ground: Color) -> None:
    for y in (0.36, 0.52, 0.68):
        points = [(0.22 + 0.07 * i, y + (0.05 if i % 2 else -0.05)) for i in range(9)]
        pen.line(points, 0.06, ink)


def _wheels(pen: Pen, ink: Color, ground: Color) -> None:
    pen.ring(0.32, 0.6, 0.14, 0.06, ink)
    pen.ring(0.68, 0.6, 0.14, 0.06, ink)
    pen.line(((0.32, 0.6), (0.46, 0.36), (0.68, 0.6)), 0.06, ink)


def _wing(pen: Pen, ink: Color, ground: Color) -> None:
    pen.line(((0.24, 0.42), (0.38, 0.36), (0.5, 0.54), (0.62, 0.36), (0.76, 0.42)), 0.1, ink)


GLYPHS: dict[str, Glyph] = {
    "bag": _bag,
    "bars": _bars,
    "bed": _bed,
    "bolt": _bolt,
    "book": _book,
    "brush": _brush,
    "bubble": _bubble,
    "bulb": _bulb,
    "buttons": _buttons,
    "car": _car,
    "check": _check,
    "checker": _checker,
    "dots": _dots,
    "drum": _drum,
    "envelope": _envelope,
    "flower": _flower,
    "folder": _folder,
    "frame": _frame,
    "gear": _gear,
    "globe": _globe,
    "grid": _grid,
    "hands": _hands,
    "handset": _handset,
    "heart": _heart,
    "keys": _keys,
    "leaf": _leaf,
    "lens": _lens,
    "letter": _letter,
    "lines": _lines,
    "mic": _mic,
    "moon": _moon,
    "needle": _needle,
    "note": _note,
    "paw": _paw,
    "person": _person,
    "piece": _piece,
    "pin": _pin,
    "plane": _plane,
    "play": _play,
    "pot": _pot,
    "question": _question,
    "star": _star,
    "sun": _sun,
    "ticket": _ticket,
    "ticks": _ticks,
    "waves": _waves,
    "wheels": _wheels,
    "wing": _wing,
}
"""Glyphs of icons: each is drawn into the unit square, in the colour of the ink; the colour of the
ground is for its holes."""


def draw_glyph(app: App, side: int) -> Image.Image:
    """Draw the app's glyph alone on its ground, RGB ``[side, side]``."""
    large = Image.new("RGB", (side * _OVERSAMPLING,) * 2, COLORS[app.ground])
    GLYPHS[app.glyph](Pen(large, unit=large.width), COLORS[app.mark], COLORS[app.ground])
    return large.resize((side, side), Image.Resampling.BOX)


@lru_cache(maxsize=128)
def draw_icon(app: App, side: int) -> Image.Image:
    """Draw the app's icon, RGBA ``[side, side]``, transparent outside of its shape.

    The icon has a white rim, so that it is visible on any wallpaper.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import ALL
        >>> icon = draw_icon(ALL["clock"], 15)
        >>> icon.size, icon.getpixel((0, 0))[3], icon.getpixel((7, 1))[3]
        ((15, 15), 0, 255)
    """
    large = Image.new("RGBA", (side * _OVERSAMPLING,) * 2, (*_RIM, 0))
    pen = Pen(large, unit=large.width)
    ground, mark = COLORS[app.ground], COLORS[app.mark]
    for size, color in ((1.0, _RIM), (0.9, ground)):
        SHAPES[app.shape](pen, size, color)
    GLYPHS[app.glyph](pen, mark, ground)
    return large.resize((side, side), Image.Resampling.BOX)
