"""What an env says about its present frame: the captions that ``train-clip`` trains a CLIP with.

A world brings its captions with two members of its env class:

* ``captions()``, a method that returns :class:`Captions`: which statements hold of the present
  frame, which do not, and of which it is unclear;
* ``templates``, optional: by family, the :class:`.Template` that turns a goal of the env into its
  statement, and names the family's ``nothing``;
* ``boxes()``, optional, a method that returns a :class:`Box` for each thing that the frame shows.
  ``train-clip --patches`` teaches a CLIP with them where things are.
"""

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import Template

__all__ = ["Box", "Captions", "Said", "Statements"]

Said = Mapping[str, Collection[str]]
"""Statements by family."""

Things = Mapping[str, Iterable[tuple[str, ...]]]
"""By family, what fills the blanks of the family's prompt."""

ARTICLES = "{a|the}"


class Box(NamedTuple):
    """Where a frame shows a thing.

    Attributes:
        name: the thing's name, without an article.
        left: the left edge, as a share of the frame's width.
        top: the upper edge, as a share of its height.
        right: the right edge.
        bottom: the lower edge.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float


class Captions(NamedTuple):
    """All statements about one frame, by family.

    The statements of a family should exclude each other: they become each other's negatives. Every
    frame has the same statements, each in one of the three. A statement may have several wordings,
    see :func:`~rllib_vlm_reward.goals.wordings`.

    Attributes:
        true: what the frame shows; the family's ``nothing`` if it shows none of its statements.
        false: what the frame does not show.
        unclear: what it may or may not show, such as a thing of which little is seen. A training
            neither asks for these statements nor against them.
    """

    true: Said
    false: Said
    unclear: Said


@dataclasses.dataclass(frozen=True)
class Statements:
    """The statements of a world whose goals name things.

    Attributes:
        templates: by family, the template from a goal to its success state.
        names: the names that fill a template's blanks, without articles.
        articles: what stands before a name; "" if nothing does.

    Raises:
        GoalError: a template has an article before a blank, and ``articles`` would add another.

    Example:
        >>> doors = Template("open the {} door", "the {} door is open", "all doors are closed")
        >>> statements = Statements({"open": doors}, ["red", "blue"], articles="")
        >>> statements.captions({"open": [("red",)]}).true
        {'open': {'the red door is open'}}
        >>> sorted(statements.captions({"open": []}).false["open"])
        ['the blue door is open', 'the red door is open']
    """

    templates: Mapping[str, Template]
    names: Sequence[str]
    articles: str = ARTICLES

    def __post_init__(self) -> None:
        article = re.compile(r"\b(a|an|the) \{\}", re.IGNORECASE)
        for template in self.templates.values():
            if self.articles and (doubled := article.search(template.prompt)):
                raise GoalError(
                    f"statements: got {doubled[0]!r} in the prompt {template.prompt!r}, expected "
                    f"no article before a blank, since {self.articles!r} is added to each name. "
                    'Remove it, or give articles="".'
                )

    @cached_property
    def all(self) -> dict[str, frozenset[str]]:
        """All statements of each family."""
        every = {}
        for family, template in self.templates.items():
            blanks = template.prompt.count("{}")
            choose = itertools.combinations if template.symmetric else itertools.permutations
            goals = self._say(family, choose(self.names, blanks))
            every[family] = frozenset({*goals, *filter(None, [template.nothing])})
        return every

    def captions(self, true: Things, unclear: Things | None = None) -> Captions:
        """Return the captions of a frame from the facts about it.

        If nothing of a family is true, its ``nothing`` is, unless something is unclear: then it is
        unclear as well.

        Args:
            true: by family, the names for which the family's prompt holds, in any order if the
                template is symmetric.
            unclear: the same for prompts that may or may not hold.
        """
        unclear = unclear or {}
        said: tuple[dict[str, set[str]], ...] = ({}, {}, {})
        for family, template in self.templates.items():
            holds = self._say(family, true.get(family, ()))
            perhaps = self._say(family, unclear.get(family, ())) - holds
            if not holds and template.nothing is not None:
                (perhaps if perhaps else holds).add(template.nothing)
            rest = {*self.all[family]} - holds - perhaps
            for each, statements in zip(said, (holds, rest, perhaps), strict=True):
                each[family] = statements
        return Captions(*said)

    def unknown(self) -> Captions:
        """Return the captions of a frame about which nothing is known."""
        none: dict[str, set[str]] = {family: set() for family in self.templates}
        return Captions(none, none, {family: {*every} for family, every in self.all.items()})

    def _say(self, family: str, things: Iterable[tuple[str, ...]]) -> set[str]:
        template = self.templates[family]
        return {_phrase(template, self.articles, tuple(names)) for names in things}


@lru_cache(maxsize=100_000)
def _phrase(template: Template, articles: str, names: tuple[str, ...]) -> str:
    prompt = template.prompt.replace("{}", "%s")
    orders = [names]
    if template.symmetric and len(names) > 1:
        first = tuple(sorted(names))
        orders = [*dict.fromkeys([first, first[::-1]])]
    texts = [prompt % tuple(f"{articles} {name}".strip() for name in order) for order in orders]
    return texts[0] if len(texts) == 1 else "{" + "|".join(texts) + "}"
