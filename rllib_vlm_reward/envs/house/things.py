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
    """

    name: str
    mesh: str | None
    color: str | None
    radius: float
    height: float


# (mesh, radius, height). MiniWorld's ball has 5,192 triangles, more than all other things
# together, and its box has nothing that tells it from a ball at 64 pixels.
_COLORED: dict[str, tuple[str | None, float, float]] = {
    "ball": (None, 0.24, 0.48),
    "box": (None, 0.29, 0.42),
    "key": ("key", 0.32, 0.34),
}
_OTHERS: dict[str, tuple[str, float, float]] = {
    "blue barrel": ("barrel", 0.22, 0.6),
    "cone": ("cone", 0.24, 0.62),
    "duckie": ("duckie", 0.27, 0.48),
    "medkit": ("medkit", 0.29, 0.5),
    "chair": ("office_chair", 0.26, 0.75),
    "desk": ("office_desk", 0.34, 0.6),
    "potion": ("potion", 0.2, 0.62),
    "keycard": ("keycard", 0.24, 0.52),
    "tree": ("tree", 0.33, 0.62),
    "pine": ("tree_pine", 0.24, 0.75),
}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        *(
            Kind(f"{color} {shape}", mesh, color, radius, height)
            for (shape, (mesh, radius, height)), color in product(_COLORED.items(), COLORS)
        ),
        *(Kind(name, mesh, None, *size) for name, (mesh, *size) in _OTHERS.items()),
    )
}
"""All 28 kinds by name: ball, box and key in six colours, and ten others."""
