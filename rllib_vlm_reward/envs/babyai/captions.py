"""The statements that are true in a BabyAI frame, in the words of the prompts."""

from itertools import product

from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT

from rllib_vlm_reward.envs.babyai.level import KINDS
from rllib_vlm_reward.envs.babyai.mission import FORMS
from rllib_vlm_reward.envs.babyai.tiles import View
from rllib_vlm_reward.goals import Template

__all__ = ["TEMPLATES", "captions"]

TEMPLATES: dict[str, Template] = {
    "find": Template(FORMS["find"], "the agent is facing {}", "the agent is facing nothing"),
    "lift": Template(FORMS["lift"], "the agent is carrying {}", "the agent is carrying nothing"),
    "place": Template(FORMS["place"], "{} is next to {}", "no two objects touch", symmetric=True),
}
"""The templates from a mission to a description of its success state, by family."""


def captions(view: View) -> dict[str, set[str]]:
    """Return all statements that are true in a view, by family.

    The statements are the prompts of :data:`TEMPLATES`, filled in with the objects' names ("red
    ball", without an article), or the family's ``nothing`` if none is true. A pair of objects gives
    two statements, one for each order.

    Args:
        view: uint8 ``[V, V, 3]``, MiniGrid's egocentric ``obs["image"]``.

    Example:
        >>> import numpy as np
        >>> sorted(captions(np.ones((7, 7, 3), np.uint8))["lift"])
        ['the agent is carrying nothing']
    """
    width, height = view.shape[:2]
    hand, front = (width // 2, height - 1), (width // 2, height - 2)
    named = {at: name for at in product(range(width), range(height)) if (name := _name(view, at))}
    pairs: set[tuple[str, ...]] = {
        (name, named[other])
        for (x, y), name in named.items()
        for other in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1))
        if other in named and hand not in (other, (x, y))
    }
    facts: dict[str, set[tuple[str, ...]]] = {
        "find": {(named[front],)} if front in named else set(),
        "lift": {(named[hand],)} if hand in named else set(),
        "place": pairs,
    }
    return {family: _statements(family, things) for family, things in facts.items()}


def _name(view: View, at: tuple[int, int]) -> str | None:
    kind, color, _ = (int(value) for value in view[at])
    return f"{IDX_TO_COLOR[color]} {IDX_TO_OBJECT[kind]}" if IDX_TO_OBJECT[kind] in KINDS else None


def _statements(family: str, things: set[tuple[str, ...]]) -> set[str]:
    template = TEMPLATES[family]
    if not things:
        return {template.nothing} if template.nothing else set()
    return {template.prompt.replace("{}", "%s") % names for names in things}
