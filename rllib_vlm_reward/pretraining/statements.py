"""The statements that the embedded CLIPs learn, and which statements hold in a view."""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.envs.babyai.captions import TEMPLATES, captions
from rllib_vlm_reward.envs.babyai.level import COLORS, KINDS
from rllib_vlm_reward.envs.babyai.tiles import View
from rllib_vlm_reward.goals import Template

__all__ = ["FAMILIES", "NAMES", "Family", "Truth", "truth"]

ARTICLES = ("a", "the")
NAMES: tuple[str, ...] = tuple(f"{color} {kind}" for color in COLORS for kind in KINDS)

Truth = dict[str, npt.NDArray[np.bool_]]
"""Which of a family's S statements hold in each of N views, by family, bool ``[N, S]``."""


@dataclasses.dataclass(frozen=True)
class Family:
    """The statements of one template: first its "nothing", then one for each object.

    Attributes:
        template: turns a mission into its success state.
        objects: the names that fill the template's blanks, in order, without articles.

    Example:
        >>> lift = FAMILIES["lift"]
        >>> lift.with_articles(np.random.default_rng(0))[:2]
        ['the agent is carrying nothing', 'the agent is carrying the blue ball']
        >>> len(lift.objects), len(FAMILIES["place"].objects)
        (18, 306)
    """

    template: Template
    objects: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, template: Template) -> "Family":
        """Return a template's family over every object that a level may hold."""
        return cls(template, tuple(permutations(NAMES, template.prompt.count("{}"))))

    def with_articles(self, rng: np.random.Generator) -> list[str]:
        """Return the family's S statements, with an article drawn at random for every object.

        The CLIP needs both, since missions say "the red ball" and users "a red ball".
        """
        drawn = rng.integers(len(ARTICLES), size=(len(self.objects), len(self.objects[0])))
        named = (
            [f"{ARTICLES[article]} {name}" for article, name in zip(row, names, strict=True)]
            for row, names in zip(drawn, self.objects, strict=True)
        )
        return self._fill(named)

    def without_articles(self) -> list[str]:
        """Return the family's S statements without articles, as ``captions`` returns them."""
        return self._fill(self.objects)

    def about(self, things: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which of the family's S statements name one of these things, bool ``[S]``."""
        named = [bool({*names} & {*things}) for names in self.objects]
        return np.array([False, *named])

    def _fill(self, named: Iterable[Iterable[str]]) -> list[str]:
        prompt = self.template.prompt.replace("{}", "%s")
        return [str(self.template.nothing), *(prompt % tuple(names) for names in named)]


FAMILIES: dict[str, Family] = {name: Family.of(template) for name, template in TEMPLATES.items()}
"""The families find, lift and place of
:data:`~rllib_vlm_reward.envs.babyai.captions.TEMPLATES`."""


def truth(views: View) -> Truth:
    """Return which statements hold in each view; in every family at least one does.

    Args:
        views: uint8 ``[N, V, V, 3]``.

    Example:
        >>> {name: held.shape for name, held in truth(np.ones((2, 7, 7, 3), np.uint8)).items()}
        {'find': (2, 19), 'lift': (2, 19), 'place': (2, 307)}
    """
    columns = {
        name: {statement: column for column, statement in enumerate(family.without_articles())}
        for name, family in FAMILIES.items()
    }
    holds: Truth = {name: np.zeros((len(views), len(columns[name])), bool) for name in FAMILIES}
    for row, view in enumerate(views):
        for name, statements in captions(view).items():
            holds[name][row, [columns[name][statement] for statement in statements]] = True
    return holds
