"""The statements about a BabyAI frame, in the words of the prompts."""

from itertools import product

from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT

from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.envs.babyai.mission import FORMS
from rllib_vlm_reward.envs.babyai.tiles import View
from rllib_vlm_reward.envs.captions import Box, Captions, Statements
from rllib_vlm_reward.goals import Template

__all__ = ["STATEMENTS", "TEMPLATES", "boxes", "captions"]

TEMPLATES: dict[str, Template] = {
    "find": Template(FORMS["find"], "the agent is facing {}", "the agent is facing nothing"),
    "lift": Template(FORMS["lift"], "the agent is carrying {}", "the agent is carrying nothing"),
    "place": Template(FORMS["place"], "{} is next to {}", "no two objects touch", symmetric=True),
}
"""The templates from a mission to a description of its success state, by family."""


STATEMENTS = Statements(TEMPLATES, [f"{color} {kind}" for color in COLORS for kind in KINDS])
"""All statements about BabyAI's frames."""


def captions(view: View) -> Captions:
    """Return the statements about a view.

    The statements are the prompts of :data:`TEMPLATES`, filled in with the objects' names.

    Args:
        view: uint8 ``[V, V, 3]``, MiniGrid's egocentric ``obs["image"]``.

    Example:
        >>> import numpy as np
        >>> captions(np.ones((7, 7, 3), np.uint8)).true["lift"]
        {'the agent is carrying nothing'}
    """
    width, height = view.shape[:2]
    hand, front = (width // 2, height - 1), (width // 2, height - 2)
    named = {at: name for at in product(range(width), range(height)) if (name := _name(view, at))}
    pairs = {
        (name, named[other])
        for (x, y), name in named.items()
        for other in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1))
        if other in named and hand not in (other, (x, y))
    }
    return STATEMENTS.captions(
        {
            "find": [(named[front],)] if front in named else [],
            "lift": [(named[hand],)] if hand in named else [],
            "place": pairs,
        }
    )


def boxes(view: View) -> list[Box]:
    """Return where a view shows things: a tile each. What the agent carries is in the tile below.

    Example:
        >>> import numpy as np
        >>> view = np.ones((7, 7, 3), np.uint8)
        >>> view[3, 6] = 6, 0, 0
        >>> boxes(view)[0].name, boxes(view)[0].bottom
        ('red ball', 1.0)
    """
    width, height = view.shape[:2]
    return [
        Box(name, x / width, y / height, (x + 1) / width, (y + 1) / height)
        for x, y in product(range(width), range(height))
        if (name := _name(view, (x, y)))
    ]


def _name(view: View, at: tuple[int, int]) -> str | None:
    kind, color, _ = (int(value) for value in view[at])
    return f"{IDX_TO_COLOR[color]} {IDX_TO_OBJECT[kind]}" if IDX_TO_OBJECT[kind] in KINDS else None
