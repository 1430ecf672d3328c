"""Draws what is on the phone: an app's screen, a page of the launcher, and the status bar.

All measures are in units of a screen of 90 × 160; a frame has ``scale`` pixels in a unit.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rllib_vlm_reward.envs.android.apps import COLORS, App
from rllib_vlm_reward.envs.android.icons import draw_glyph, draw_icon
from rllib_vlm_reward.envs.android.pen import Color, Pen, Point
from rllib_vlm_reward.frames import Frames

__all__ = [
    "HEADER_HEIGHT",
    "HEIGHT",
    "ICON_SIDE",
    "LAYOUTS",
    "SCROLLS",
    "STATUS_HEIGHT",
    "WIDTH",
    "draw_app",
    "draw_page",
    "draw_status",
    "draw_wallpaper",
]

WIDTH, HEIGHT = 90, 160
STATUS_HEIGHT = 8
HEADER_HEIGHT = 20
ICON_SIDE = 15
SCROLLS = 3
"""An app's screen has this many positions to scroll to."""

_TOP = STATUS_HEIGHT + HEADER_HEIGHT
_SCROLL = 24.0
_CONTENT = HEIGHT - _TOP + _SCROLL * (SCROLLS - 1)
_OVERSAMPLING = 2

Layout = Callable[[Pen, Color, Color, np.random.Generator], None]


def _line_of_text(pen: Pen, x: float, y: float, width: float, ink: Color) -> None:
    """Draw what a line of text looks like from afar."""
    pen.box(x, y, x + width, y + 3, ink, 1.5)


def _board(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    side = 78 / int(rng.choice((6, 8, 9)))
    cells = range(round(78 / side))
    for row in cells:
        for column in cells:
            x, y = 6 + column * side, 10 + row * side
            if (row + column) % 2 == 0:
                pen.box(x, y, x + side, y + side, accent)
            if rng.random() < 0.3:
                pen.disc(x + side / 2, y + side / 2, side / 3.2, ink)
    for y in (104, 124, 144, 164):
        _line_of_text(pen, 6, y, float(rng.uniform(30, 70)), ink)


def _cards(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    height = float(rng.uniform(38, 60))
    for y in np.arange(5, _CONTENT, height + 8):
        pen.box(5, y, 85, y + height, accent, 3)
        pen.polygon(((5, y + height), (float(rng.uniform(20, 60)), y + 8), (85, y + height)), ink)
        _line_of_text(pen, 8, y + height + 2, float(rng.uniform(25, 60)), ink)


def _chart(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    levels = np.cumsum(rng.normal(0, 12, 11)).clip(-26, 26)
    pen.line([(5 + 8 * i, 36 + float(level)) for i, level in enumerate(levels)], 3, accent)
    pen.box(4, 66, 86, 68, ink)
    for index in range(7):
        height = float(rng.uniform(10, 44))
        pen.box(7 + 11 * index, 122 - height, 15 + 11 * index, 122, accent)
    for y in (130, 142, 154, 166):
        _line_of_text(pen, 6, y, float(rng.uniform(30, 75)), ink)


def _chat(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    y = 4.0
    while y < _CONTENT:
        height, width = float(rng.choice((12, 18, 24))), float(rng.uniform(30, 62))
        mine = rng.random() < 0.5
        x, color = (86 - width, accent) if mine else (4, ink)
        pen.box(x, y, x + width, y + height, color, 5)
        y += height + 5


def _dial(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    pen.ring(45, 48, 38, 4, ink)
    turns = 2 * np.pi * np.arange(int(rng.choice((4, 8, 12))))
    for angle in turns / len(turns):
        x, y = float(np.sin(angle)), float(np.cos(angle))
        pen.line(((45 + 28 * x, 48 + 28 * y), (45 + 33 * x, 48 + 33 * y)), 2, ink)
    for length, width in ((29, 2.5), (19, 4.5)):
        angle = float(rng.uniform(0, 2 * np.pi))
        tip = 45 + length * float(np.sin(angle)), 48 + length * float(np.cos(angle))
        pen.line(((45, 48), tip), width, accent)
    for index in range(5):
        y = 98 + 16 * index
        _line_of_text(pen, 8, y, 34, ink)
        pen.box(66, y - 2, 82, y + 5, accent, 3)


def _gallery(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    columns = int(rng.choice((2, 3)))
    side = 84 / columns
    palette = list(COLORS.values())
    for y in np.arange(3, _CONTENT, side):
        for column in range(columns):
            x = 3 + column * side
            pen.box(x + 1, y + 1, x + side - 1, y + side - 1, palette[rng.integers(len(palette))])
            size = float(rng.uniform(0.15, 0.32)) * side
            pen.disc(x + side / 2, y + side / 2, size, accent)


def _keypad(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    columns = int(rng.choice((3, 4)))
    pen.box(5, 5, 85, 30, ink, 2)
    step = 84 / columns
    for row in range(8):
        for column in range(columns):
            last = column == columns - 1
            x, y = 3 + step * (column + 0.5), 44 + 19 * row
            pen.disc(x, y, 7.5, accent if last or rng.random() < 0.15 else ink)


def _keys(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    step = float(rng.choice((9, 11, 14)))
    pen.box(4, 5, 86, 24, accent, 2)
    for index, x in enumerate(np.arange(3, 86, step)):
        pen.box(x, 30, x + step - 1.5, _CONTENT, ink)
        if rng.random() < 0.6:
            pen.box(x + step * 0.6, 30, x + step * 1.2, 80 + 10 * (index % 2), accent)


def _map(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    pen.box(0, 0, WIDTH, _CONTENT, (206, 222, 190))
    pen.disc(float(rng.uniform(10, 80)), float(rng.uniform(10, 120)), 26, (150, 196, 232))
    for _ in range(4):
        y, x = rng.uniform(5, _CONTENT, 2), rng.uniform(5, 85, 2)
        pen.line(((0, float(y[0])), (90, float(y[1]))), 5, (250, 246, 232))
        pen.line(((float(x[0]), 0), (float(x[1]), _CONTENT)), 4, (250, 246, 232))
    for _ in range(3):
        x0, y0 = float(rng.uniform(15, 75)), float(rng.uniform(20, _CONTENT - 20))
        pen.polygon(((x0 - 5, y0 - 8), (x0 + 5, y0 - 8), (x0, y0 + 4)), accent)
        pen.disc(x0, y0 - 9, 6, accent)


def _month(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    _line_of_text(pen, 6, 6, 36, ink)
    for row in range(12):
        for column in range(7):
            x, y = 5 + 11.6 * column, 16 + 13.0 * row
            pen.box(x, y, x + 9, y + 10, accent if rng.random() < 0.16 else ink, 2)


def _page(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    pen.box(8, 6, 60, 14, accent)
    for y in np.arange(20, _CONTENT, 6):
        _line_of_text(pen, 8, float(y), 40 if rng.random() < 0.25 else 74, ink)


def _player(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    pen.box(14, 6, 76, 68, accent, 4)
    pen.disc(45, 37, float(rng.uniform(10, 26)), ink)
    pen.disc(45, 37, 4, accent)
    _line_of_text(pen, 14, 76, 62, ink)
    pen.disc(14 + float(rng.uniform(5, 55)), 77.5, 4, accent)
    for x in (24, 45, 66):
        pen.disc(x, 100, 9 if x == 45 else 6, accent if x == 45 else ink)
    for y in np.arange(120, _CONTENT, 12):
        _line_of_text(pen, 10, float(y), float(rng.uniform(30, 70)), ink)


def _rows(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    step = float(rng.choice((14, 17, 21)))
    square = rng.random() < 0.5
    for y in np.arange(3, _CONTENT, step):
        middle = float(y) + step / 2 - 1
        if square:
            pen.box(5, middle - 5, 15, middle + 5, accent, 2)
        else:
            pen.disc(10, middle, 5.5, accent)
        _line_of_text(pen, 20, middle - 4, float(rng.uniform(25, 62)), ink)
        _line_of_text(pen, 20, middle + 1.5, float(rng.uniform(15, 40)), ink)


def _tiles(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    height = float(rng.choice((26, 34, 42)))
    for y in np.arange(4, _CONTENT, height + 4):
        for x in (4, 47):
            swapped = rng.random() < 0.4
            pen.box(x, y, x + 39, y + height, ink if swapped else accent, 4)
            pen.disc(x + 19.5, y + height / 2, 7, accent if swapped else ink)


def _toggles(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    step = float(rng.choice((13, 16, 19)))
    for y in np.arange(5, _CONTENT, step):
        _line_of_text(pen, 6, float(y) + 2, float(rng.uniform(24, 52)), ink)
        on = rng.random() < 0.5
        pen.box(66, y, 84, y + 8, accent if on else ink, 4)
        pen.disc(80 if on else 70, float(y) + 4, 3, (250, 250, 250))


def _viewfinder(pen: Pen, ink: Color, accent: Color, rng: np.random.Generator) -> None:
    pen.box(0, 0, WIDTH, _CONTENT, (24, 26, 34))
    for _ in range(14):
        x, y = float(rng.uniform(4, 86)), float(rng.uniform(4, _CONTENT - 4))
        pen.disc(x, y, float(rng.uniform(0.8, 4)), accent if rng.random() < 0.5 else ink)
    for sx, x in ((1, 10), (-1, 80)):
        for sy, y in ((1, 12), (-1, 92)):
            corner = ((x + 14 * sx, y), (x, y), (x, y + 14 * sy))
            pen.line(corner, 2.5, (240, 240, 240))
    pen.ring(45, 114, 11, 3, (240, 240, 240))
    pen.disc(45, 114, 6, accent)


LAYOUTS: dict[str, Layout] = {
    "board": _board,
    "cards": _cards,
    "chart": _chart,
    "chat": _chat,
    "dial": _dial,
    "gallery": _gallery,
    "keypad": _keypad,
    "keys": _keys,
    "map": _map,
    "month": _month,
    "page": _page,
    "player": _player,
    "rows": _rows,
    "tiles": _tiles,
    "toggles": _toggles,
    "viewfinder": _viewfinder,
}
"""Layouts of apps' screens: each draws a content that is longer than the screen."""


def _mix(first: Color, second: Color, share: float) -> Color:
    r, g, b = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return r, g, b


def _pixels(image: Image.Image) -> Frames:
    pixels = np.array(image.convert("RGB"))
    pixels.setflags(write=False)
    return pixels


def _write(image: Image.Image, text: str, at: Point, size: Point, ink: Color) -> None:
    """Write a text into a box of the image, in pixels; it is squeezed to fit."""
    font = ImageFont.load_default()
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font)
    shrink = min(size[0] / mask.width, size[1] / mask.height)
    width, height = (max(1, round(side * shrink)) for side in mask.size)
    mask = mask.resize((width, height), Image.Resampling.BILINEAR)
    image.paste(ink, (round(at[0] - width / 2), round(at[1] - height / 2)), mask)


@lru_cache(maxsize=128)
def draw_app(
    app: App, scroll: int = 0, *, dark: bool = False, scale: int = 1, labels: bool = False
) -> Frames:
    """Draw the screen of an open app, without the status bar.

    Args:
        app: which app.
        scroll: how far its content is scrolled, 0 to ``SCROLLS - 1``.
        dark: whether the phone uses its dark theme.
        scale: number of pixels in a unit.
        labels: whether the header has the app's name.

    Returns:
        uint8 ``[160 * scale, 90 * scale, 3]``, not writable.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import ALL
        >>> draw_app(ALL["clock"], scale=2).shape
        (320, 180, 3)
    """
    ground, mark = COLORS[app.ground], COLORS[app.mark]
    paper: Color = (28, 28, 34) if dark else (246, 246, 242)
    # The accent must differ from the paper, which is nearly white or black.
    accent = max((ground, mark), key=lambda color: max(color) - min(color))
    ink = _mix(paper, (250, 250, 250) if dark else (20, 20, 30), 0.3)
    unit = scale * _OVERSAMPLING
    large = Image.new("RGB", (WIDTH * unit, HEIGHT * unit), paper)
    content = Pen(large, unit=unit, at=(0.0, _TOP - _SCROLL * scroll))
    # The name decides what is in the app, so that all phones have the same apps.
    LAYOUTS[app.layout](content, ink, accent, np.random.default_rng(zlib.crc32(app.name.encode())))
    pen = Pen(large, unit=unit)
    pen.box(0, 0, WIDTH, _TOP, ground)
    if not labels:
        _line_of_text(pen, 30, STATUS_HEIGHT + 6, 34, mark)
        _line_of_text(pen, 30, STATUS_HEIGHT + 11, 22, mark)
    pen.box(30, HEIGHT - 4, 60, HEIGHT - 2, _mix(paper, (128, 128, 128), 0.8))
    image = large.resize((WIDTH * scale, HEIGHT * scale), Image.Resampling.BOX)
    image.paste(draw_glyph(app, 18 * scale), (6 * scale, (STATUS_HEIGHT + 1) * scale))
    if labels:
        middle = 56.0 * scale, (STATUS_HEIGHT + HEADER_HEIGHT / 2) * scale
        _write(image, app.name, middle, (60.0 * scale, 11.0 * scale), mark)
    return _pixels(image)


def draw_wallpaper(rng: np.random.Generator, scale: int = 1) -> Image.Image:
    """Draw a wallpaper: a gradient of two random colours with a few shapes, RGB."""
    top, bottom = rng.integers(20, 200, (2, 3))
    steps = np.linspace(0, 1, HEIGHT * scale)[:, None]
    gradient = (top + steps * (bottom - top)).astype(np.uint8)
    image = Image.fromarray(gradient[:, None]).resize((WIDTH * scale, HEIGHT * scale))
    pen = Pen(image, unit=scale)
    for _ in range(int(rng.integers(2, 6))):
        x, y = float(rng.uniform(0, WIDTH)), float(rng.uniform(0, HEIGHT))
        size = float(rng.uniform(8, 36))
        red, green, blue = (int(level) for level in rng.integers(20, 220, 3))
        if rng.random() < 0.5:
            pen.disc(x, y, size, (red, green, blue))
        else:
            pen.polygon(((x - size, y + size), (x, y - size), (x + size, y)), (red, green, blue))
    return image


def draw_page(
    wallpaper: Image.Image,
    icons: Sequence[tuple[App, Point]],
    *,
    page: int,
    num_pages: int,
    scale: int = 1,
    labels: bool = False,
) -> Frames:
    """Draw a page of the launcher, without the status bar.

    Args:
        wallpaper: see :func:`draw_wallpaper`.
        icons: the apps on the page, each with the left upper corner of its icon.
        page, num_pages: which page it is, and of how many.
        scale: number of pixels in a unit.
        labels: whether each icon has the app's name below.

    Returns:
        uint8 ``[160 * scale, 90 * scale, 3]``, not writable.
    """
    image = wallpaper.copy()
    pen = Pen(image, unit=scale)
    pen.box(8, 11, 82, 18, (236, 236, 236), 3.5)
    for app, (x, y) in icons:
        icon = draw_icon(app, ICON_SIDE * scale)
        image.paste(icon, (round(x * scale), round(y * scale)), icon)
        if labels:
            below = (x + ICON_SIDE / 2) * scale, (y + ICON_SIDE + 2) * scale
            _write(image, app.name, below, (22.0 * scale, 4.0 * scale), (255, 255, 255))
    for index in range(num_pages):
        x = WIDTH / 2 + 6 * (index - (num_pages - 1) / 2)
        if index == page:
            pen.disc(x, 146, 2.2, (255, 255, 255))
        else:
            pen.disc(x, 146, 1.2, (190, 190, 190))
    pen.box(30, HEIGHT - 4, 60, HEIGHT - 2, (220, 220, 220))
    return _pixels(image)


def draw_status(battery: float, scale: int = 1) -> Frames:
    """Draw the status bar with a battery between 0 and 1, uint8 ``[8 * scale, 90 * scale, 3]``."""
    image = Image.new("RGB", (WIDTH * scale, STATUS_HEIGHT * scale), (12, 12, 14))
    pen = Pen(image, unit=scale)
    for index in range(4):
        pen.box(62 + 3 * index, 5 - index, 64 + 3 * index, 6, (230, 230, 230))
    pen.box(77, 2, 87, 6, (90, 90, 90))
    pen.box(77, 2, 77 + 10 * battery, 6, (230, 230, 230))
    return _pixels(image)
