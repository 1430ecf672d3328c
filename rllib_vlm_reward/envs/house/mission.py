"""Reads the text of a goal: its family, and the things that it names."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from itertools import permutations

from rllib_vlm_reward.errors import GoalError

__all__ = ["FORMS", "Mission"]

FORMS: dict[str, str] = {
    "find": "go near {}",
    "lift": "pick up {}",
    "place": "put {} next to {}",
}
"""The text of a goal, by family; each ``{}`` is a thing such as "the red ball"."""

_PATTERNS = {
    family: re.compile(form.replace("{}", r"(?:the|a) (.+?)")) for family, form in FORMS.items()
}


@dataclasses.dataclass(frozen=True, slots=True)
class Mission:
    """A goal of the house.

    Attributes:
        text: the text, unchanged.
        family: a key of :data:`FORMS`.
        things: the names of the things in the text, in order.
    """

    text: str
    family: str
    things: tuple[str, ...]

    @classmethod
    def read(cls, text: str, families: Sequence[str], names: Sequence[str]) -> "Mission":
        """Read a text; "a red ball" and "the red ball" mean the same thing.

        Args:
            text: a text in the form of one of the families.
            families: the allowed families, keys of :data:`FORMS`.
            names: the things that the text may name.

        Raises:
            GoalError: the text has another form, names an unknown thing, or names one thing twice.
                The error suggests the closest valid text.

        Example:
            >>> Mission.read("put the duckie next to a red box", ["place"], ["duckie", "red box"])
            Mission(text='put the duckie next to a red box', family='place', \
things=('duckie', 'red box'))
            >>> Mission.read("pick up the pink ball", ["lift"], ["red ball", "duckie"])
            Traceback (most recent call last):
            ...
            rllib_vlm_reward.errors.GoalError: goal 'pick up the pink ball': got the thing 'pink \
ball', expected one of ['duckie', 'red ball']. The closest goal of this house is 'pick up the red \
ball'.
        """
        for family in families:
            match = _PATTERNS[family].fullmatch(text)
            if match is not None:
                fault = _fault(match.groups(), names)
                break
        else:
            forms = [FORMS[family].replace("{}", "the THING") for family in families]
            fault = f"got another form, expected one of {forms}"
        if fault is None:
            assert match is not None
            return cls(text, family, match.groups())
        close = difflib.get_close_matches(text, _texts(families, names), n=1, cutoff=0)[0]
        raise GoalError(f"goal {text!r}: {fault}. The closest goal of this house is {close!r}.")

    @classmethod
    def of(cls, family: str, things: Sequence[str]) -> "Mission":
        """Return the goal of a family about these things, with the article "the"."""
        text = FORMS[family].format(*(f"the {name}" for name in things))
        return cls(text, family, tuple(things))


def _fault(things: Sequence[str], names: Sequence[str]) -> str | None:
    for name in things:
        if name not in names:
            return f"got the thing {name!r}, expected one of {sorted(names)}"
    if len(set(things)) < len(things):
        return "got the same thing twice, expected two different things"
    return None


def _texts(families: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return every valid text, with the article "the"."""
    return [
        Mission.of(family, things).text
        for family in families
        for things in permutations(names, FORMS[family].count("{}"))
    ]
