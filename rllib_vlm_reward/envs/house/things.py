"""The kinds of things that lie in a house: their names, shapes and sizes."""

import dataclasses
from itertools import product

__all__ = ["COLORS", "KINDS", "Kind"]

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.9, 0.08, 0.08),
    "green": (0.1, 0.7, 0.15),
    "blue": (0.1, 0.2, 1.0),
    "purple": (0.55, 0.15, 0.75),
    "yellow": (1.0, 0.95, 0.05),
    "grey": (0.45, 0.45, 0.45),
}
"""Red, green and blue of a colour's name, each between 0 and 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing.

    Attributes:
        name: what goals and captions call it.
        mesh: name of MiniWorld's mesh; None for a ball and a box, which are drawn from their sizes.
        color: key of :data:`COLORS`; None leaves the mesh its own colours.
        radius: of the circle on the floor that nothing else may enter, in metres.
        height: in metres.
        footprint: half its width and half its depth, in metres. It looks along its width.
    """

    name: str
    mesh: str | None
    color: str | None
    radius: float
    height: float
    footprint: tuple[float, float]


def _kinds() -> list[Kind]:
    # MiniWorld's own ball has 5,192 triangles, more than all other things together, and at 64
    # pixels its box looks like a ball.
    colored = [
        Kind("ball", None, None, 0.24, 0.48, (0.24, 0.24)),
        Kind("box", None, None, 0.29, 0.42, (0.21, 0.21)),
        Kind("key", "key", None, 0.32, 0.34, (0.14, 0.41)),
    ]
    return [
        *(
            dataclasses.replace(kind, name=f"{color} {kind.name}", color=color)
            for kind, color in product(colored, COLORS)
        ),
        Kind("blue barrel", "barrel", None, 0.22, 0.6, (0.21, 0.21)),
        Kind("cone", "cone", None, 0.26, 0.72, (0.23, 0.23)),
        Kind("duckie", "duckie", None, 0.3, 0.56, (0.3, 0.21)),
        Kind("medkit", "medkit", None, 0.29, 0.5, (0.28, 0.15)),
        Kind("chair", "office_chair", None, 0.26, 0.75, (0.23, 0.22)),
        Kind("desk", "office_desk", None, 0.34, 0.6, (0.32, 0.16)),
        Kind("potion", "potion", None, 0.22, 0.72, (0.18, 0.18)),
        Kind("keycard", "keycard", None, 0.26, 0.6, (0.12, 0.23)),
        Kind("tree", "tree", None, 0.33, 0.62, (0.33, 0.24)),
        Kind("pine", "tree_pine", None, 0.27, 0.88, (0.21, 0.21)),
    ]


KINDS: dict[str, Kind] = {kind.name: kind for kind in _kinds()}
"""All 28 kinds by name: ball, box and key in six colours, and ten others."""
