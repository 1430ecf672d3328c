"""Draws MiniGrid's egocentric frame from its symbolic view with one array lookup."""

from functools import cache

import numpy as np
import numpy.typing as npt
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj

from rllib_vlm_reward.frames import Frames

__all__ = ["View", "draw_tiles"]

View = npt.NDArray[np.uint8]
"""MiniGrid's ``obs["image"]``: uint8 ``[V, V, 3]``, (object, colour, state) at ``[x, y]``."""

UNSEEN, EMPTY, AGENT = (OBJECT_TO_IDX[name] for name in ("unseen", "empty", "agent"))
UP = 3


def draw_tiles(view: View, tile_size: int = 8) -> Frames:
    """Draw the agent's view; the agent's own tile shows the object that it carries.

    Except for that tile, the frame equals MiniGrid's ``get_pov_render`` pixel by pixel. MiniGrid
    hides a carried object under the agent's triangle, though the agent is always at the same
    place in the view. Here the triangle is drawn only if the agent carries nothing, so that a
    carried object is visible.

    Args:
        view: uint8 ``[..., V, V, 3]``, one or more views, see :data:`View`.
        tile_size: side of a tile in pixels.

    Returns:
        uint8 ``[..., V * tile_size, V * tile_size, 3]``.

    Example:
        >>> draw_tiles(np.zeros((7, 7, 3), np.uint8)).shape
        (56, 56, 3)
    """
    kind, color, state = np.moveaxis(view.astype(np.intp), -1, 0)
    *batch, width, height = kind.shape
    hand = (..., width // 2, height - 1)
    kind[hand] = np.where(kind[hand] == EMPTY, AGENT, kind[hand])
    tiles = _atlas(tile_size)[kind, color, state]
    # [..., x, y, row, column, 3] to [..., y, row, x, column, 3]
    tiles = np.moveaxis(tiles, -5, -3)
    frames: Frames = tiles.reshape(*batch, height * tile_size, width * tile_size, 3)
    return frames


@cache
def _atlas(tile_size: int) -> Frames:
    """Return every tile, uint8 ``[objects, colours, states, tile_size, tile_size, 3]``."""
    shape = len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX)
    atlas = np.empty((*shape, tile_size, tile_size, 3), np.uint8)
    for index in np.ndindex(*shape):
        kind = index[0]
        thing = None if kind in (UNSEEN, EMPTY, AGENT) else WorldObj.decode(*index)
        atlas[index] = Grid.render_tile(
            thing,
            agent_dir=UP if kind == AGENT else None,
            highlight=kind != UNSEEN,
            tile_size=tile_size,
        )
    return atlas
