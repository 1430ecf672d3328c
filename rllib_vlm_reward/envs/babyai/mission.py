"""Reads the text of a mission: its family, and the things that it names."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from itertools import permutations

from rllib_vlm_reward.errors import GoalError

__all__ = ["FORMS", "Mission", "Thing"]

Thing = tuple[str, str]
"""A kind and a colour, such as ``("ball", "red")``."""

FORMS: dict[str, str] = {
    "find": "go to {}",
    "lift": "pick up {}",
    "place": "put {} next to {}",
}
"""The text of a mission, by family; each ``{}`` is a thing such as "the red ball"."""

_PATTERNS = {
    family: re.compile(form.replace("{}", r"(?:the|a) (\S+) (\S+)"))
    for family, form in FORMS.items()
}


@dataclasses.dataclass(frozen=True, slots=True)
class Mission:
    """A mission and its text.

    Attributes:
        text: the text, unchanged.
        family: a key of :data:`FORMS`.
        things: the things that the text names, in order.
    """

    text: str
    family: str
    things: tuple[Thing, ...]

    @classmethod
    def read(cls, text: str, families: Sequence[str], things: Sequence[Thing]) -> "Mission":
        """Read a text; "a red ball" and "the red ball" mean the same thing.

        Args:
            text: a text in the form of one of the families.
            families: the allowed families, keys of :data:`FORMS`.
            things: the things that the text may name.

        Raises:
            GoalError: the text has another form, names an unknown colour or kind, or names one
                thing twice. The error suggests the closest valid text.

        Example:
            >>> balls = [("ball", "red"), ("ball", "blue")]
            >>> Mission.read("pick up a red ball", ["lift"], balls).things
            (('ball', 'red'),)
            >>> Mission.read("pick up a pink ball", ["lift"], balls)
            Traceback (most recent call last):
            ...
            rllib_vlm_reward.errors.GoalError: goal 'pick up a pink ball': got the colour 'pink', \
expected one of ['blue', 'red']. The closest mission of this level is 'pick up the red ball'.
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
        raise GoalError(f"goal {text!r}: {fault}. The closest mission of this level is {close!r}.")


def _fault(named: Sequence[Thing], things: Sequence[Thing]) -> str | None:
    for place, word in enumerate(("kind", "colour")):
        allowed = sorted({thing[place] for thing in things})
        for thing in named:
            if thing[place] not in allowed:
                return f"got the {word} {thing[place]!r}, expected one of {allowed}"
    if len(set(named)) < len(named):
        return "got the same thing twice, expected two different things"
    return None


def _texts(families: Sequence[str], things: Sequence[Thing]) -> list[str]:
    """Return every valid text, with the article "the"."""
    return [
        FORMS[family].format(*(f"the {color} {kind}" for kind, color in named))
        for family in families
        for named in permutations(things, FORMS[family].count("{}"))
    ]
