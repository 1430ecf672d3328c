"""A mission in words: what it asks for, and of which things."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from itertools import permutations

from rllib_vlm_reward.errors import GoalError

__all__ = ["FORMS", "Mission", "Thing"]

Thing = tuple[str, str]
"""Kind and colour, as in ``("ball", "red")``."""

FORMS: dict[str, str] = {
    "find": "go to {}",
    "lift": "pick up {}",
    "place": "put {} next to {}",
}
"""A mission's words by family; each ``{}`` is a thing as in "the red ball"."""

_PATTERNS = {
    family: re.compile(form.replace("{}", r"(?:the|a) (\S+) (\S+)"))
    for family, form in FORMS.items()
}


@dataclasses.dataclass(frozen=True, slots=True)
class Mission:
    """What a text asks for.

    Attributes:
        text: as it was given.
        family: a key of :data:`FORMS`.
        things: those that it names, in its order.
    """

    text: str
    family: str
    things: tuple[Thing, ...]

    @classmethod
    def read(cls, text: str, families: Sequence[str], things: Sequence[Thing]) -> "Mission":
        """Read a text; "a red ball" and "the red ball" are the same thing.

        Args:
            text: of the form of one of the families.
            families: keys of :data:`FORMS`.
            things: every colour of every kind that may be named.

        Raises:
            GoalError: a text of another form, of another colour or kind, or that names one thing
                twice; tells the closest that would do.

        Example:
            >>> balls = [("ball", "red"), ("ball", "blue")]
            >>> Mission.read("pick up a red ball", ["lift"], balls).things
            (('ball', 'red'),)
            >>> Mission.read("pick up a pink ball", ["lift"], balls)
            Traceback (most recent call last):
            ...
            rllib_vlm_reward.errors.GoalError: goal 'pick up a pink ball': got the colour 'pink', \
expected one of ['blue', 'red']. The closest that this level can pose is 'pick up the red ball'.
        """
        for family in families:
            match = _PATTERNS[family].fullmatch(text)
            if match is not None:
                colors, kinds = match.groups()[::2], match.groups()[1::2]
                named = tuple(zip(kinds, colors, strict=True))
                fault = _fault(named, things)
                break
        else:
            forms = [FORMS[family].replace("{}", "the COLOUR KIND") for family in families]
            fault = f"got another form, expected one of {forms}"
        if fault is None:
            return cls(text, family, named)
        close = difflib.get_close_matches(text, _texts(families, things), n=1, cutoff=0)[0]
        raise GoalError(
            f"goal {text!r}: {fault}. The closest that this level can pose is {close!r}."
        )


def _fault(named: Sequence[Thing], things: Sequence[Thing]) -> str | None:
    for place, word in enumerate(("kind", "colour")):
        known = sorted({thing[place] for thing in things})
        for thing in named:
            if thing[place] not in known:
                return f"got the {word} {thing[place]!r}, expected one of {known}"
    if len(set(named)) < len(named):
        return "got one thing twice, expected two"
    return None


def _texts(families: Sequence[str], things: Sequence[Thing]) -> list[str]:
    """Return every text that can be read, with "the" for an article."""
    return [
        FORMS[family].format(*(f"the {color} {kind}" for kind, color in named))
        for family in families
        for named in permutations(things, FORMS[family].count("{}"))
    ]
