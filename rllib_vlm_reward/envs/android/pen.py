"""A pen that draws filled shapes into a Pillow image, in units of the drawing."""

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

__all__ = ["Color", "Pen", "Point"]

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

Point = tuple[float, float]
"""A place in the units of a drawing: x to the right, y downwards."""


class Pen:
    """Draws shapes whose places and sizes are in units, into an image of any size.

    Args:
        image: the image to draw into.
        unit: number of the image's pixels in a unit.
        at: where the origin of the drawing is, in units of the image.

    Example:
        >>> image = Image.new("RGB", (4, 4))
        >>> Pen(image, unit=2).box(0, 0, 1, 2, (255, 0, 0))
        >>> image.getpixel((1, 3)), image.getpixel((2, 0))
        ((255, 0, 0), (0, 0, 0))
    """

    def __init__(self, image: Image.Image, *, unit: float, at: Point = (0.0, 0.0)) -> None:
        self._draw = ImageDraw.Draw(image)
        self._unit = unit
        self._at = at

    def _pixels(self, points: Iterable[Point]) -> list[Point]:
        return [((x + self._at[0]) * self._unit, (y + self._at[1]) * self._unit) for x, y in points]

    def _corners(self, x0: float, y0: float, x1: float, y1: float) -> list[Point]:
        """Return the corner pixels of a box; Pillow includes the last row and column."""
        (left, top), (right, bottom) = self._pixels(((x0, y0), (x1, y1)))
        return [(left, top), (max(left, right - 1), max(top, bottom - 1))]

    def box(
        self, x0: float, y0: float, x1: float, y1: float, color: Color, radius: float = 0.0
    ) -> None:
        """Fill a box; ``radius`` rounds its corners."""
        corners = self._corners(x0, y0, x1, y1)
        if radius:
            self._draw.rounded_rectangle(corners, radius * self._unit, fill=color)
        else:
            self._draw.rectangle(corners, fill=color)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        """Fill a disc around a point."""
        self._draw.ellipse(
            self._corners(x - radius, y - radius, x + radius, y + radius), fill=color
        )

    def ring(self, x: float, y: float, radius: float, width: float, color: Color) -> None:
        """Draw a ring around a point; ``radius`` is the outer one."""
        corners = self._corners(x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse(corners, outline=color, width=max(1, round(width * self._unit)))

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._pixels(points), fill=color)

    def line(self, points: Sequence[Point], width: float, color: Color) -> None:
        """Draw a line through points."""
        pixels = max(1, round(width * self._unit))
        self._draw.line(self._pixels(points), fill=color, width=pixels, joint="curve")
