"""The launcher of one episode: which app's icon is where, and how its pages look."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.envs.android.apps import App
from rllib_vlm_reward.envs.android.pen import Point
from rllib_vlm_reward.envs.android.screens import ICON_SIDE, WIDTH, draw_page, draw_wallpaper
from rllib_vlm_reward.frames import Frames

__all__ = ["PLACES", "Launcher"]

_COLUMNS, _ROWS = 4, 6
_TOP, _CELL = 20.0, (WIDTH / _COLUMNS, 20.0)
_JITTER = (3.0, 2.0)

PLACES = _COLUMNS * _ROWS
"""Number of icons that a page has room for."""


class Launcher:
    """Pages of icons in random places, on a random wallpaper.

    The apps are spread evenly over the pages. On its page, an icon is in a random cell of a grid
    of 6 × 4, and at a random place near the middle of that cell; the middle is always covered.

    Args:
        apps: the apps to place.
        num_pages: number of pages.
        rng: draws pages, places and wallpaper.
        scale: number of pixels in a unit of the screen.
        labels: whether each icon has the app's name below.

    Attributes:
        pages: the apps of each page, each with the left upper corner of its icon, in units.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import COMMON
        >>> apps = tuple(COMMON.values())
        >>> launcher = Launcher(apps, num_pages=2, rng=np.random.default_rng(0))
        >>> [len(page) for page in launcher.pages]
        [5, 5]
        >>> (app, (x, y)), *_ = launcher.pages[0].items()
        >>> launcher.app_at(0, (x + 7, y + 7)) == app
        True
    """

    def __init__(
        self,
        apps: Sequence[App],
        *,
        num_pages: int,
        rng: np.random.Generator,
        scale: int = 1,
        labels: bool = False,
    ) -> None:
        order = rng.permutation(len(apps))
        self.pages: list[dict[App, Point]] = []
        for page in range(num_pages):
            there = [apps[index] for index in order[page::num_pages]]
            cells = rng.choice(PLACES, len(there), replace=False)
            shifts = rng.uniform(-1, 1, (len(there), 2)) * _JITTER
            corners = [_corner(int(cell), shift) for cell, shift in zip(cells, shifts, strict=True)]
            self.pages.append(dict(zip(there, corners, strict=True)))
        self._scale, self._labels = scale, labels
        self._wallpaper = draw_wallpaper(rng, scale)
        self._frames: dict[int, Frames] = {}

    def page_of(self, app: App) -> int:
        """Return the number of the page that has the app's icon."""
        return next(number for number, page in enumerate(self.pages) if app in page)

    def app_at(self, page: int, point: Point) -> App | None:
        """Return the app whose icon is at a point of a page, or None."""
        for app, (x, y) in self.pages[page].items():
            if 0 <= point[0] - x < ICON_SIDE and 0 <= point[1] - y < ICON_SIDE:
                return app
        return None

    def frame(self, page: int) -> Frames:
        """Return a page as :func:`.screens.draw_page` draws it; each is drawn once."""
        if page not in self._frames:
            self._frames[page] = draw_page(
                self._wallpaper,
                list(self.pages[page].items()),
                page=page,
                num_pages=len(self.pages),
                scale=self._scale,
                labels=self._labels,
            )
        return self._frames[page]


def _corner(cell: int, shift: npt.NDArray[np.float64]) -> Point:
    """Return the corner of the icon in a cell, in whole units: what is drawn is what is tapped."""
    row, column = divmod(cell, _COLUMNS)
    x = _CELL[0] * (column + 0.5) + shift[0] - ICON_SIDE / 2
    y = _TOP + _CELL[1] * (row + 0.5) + shift[1] - ICON_SIDE / 2
    return float(round(x)), float(round(y))
