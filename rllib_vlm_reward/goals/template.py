"""Templates, which turn a goal's text into the prompt that CLIP reads."""

import dataclasses
import re

from rllib_vlm_reward.errors import GoalError

__all__ = ["Template"]


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """Turns a goal's text into the prompt that CLIP reads.

    The prompt should describe the *success state* ("Screenshot of X on Android"), not the action
    ("Open X"); see section 4.4 and figure 5 of the paper. The goals of one template must exclude
    each other, since they are used as each other's negatives.

    Attributes:
        goal: pattern of the goal's text, with ``{}`` for each blank.
        prompt: description of the success state, with as many ``{}``, filled in the same order.
        nothing: statement that none of these goals is reached; a negative of each goal.
        symmetric: whether the order of the blanks has no meaning ("a is next to b"). Then the
            prompt has them sorted, so that "b is next to a" is not a negative.
        family: name of the family of these goals; None takes ``goal``. It changes no reward.
        noun: the thing that the goal is about, for a bonus or a map that looks for it, with at most
            as many ``{}``, filled in the same order: "a {}" for the goal "pick up the {}".

    Raises:
        GoalError: goal and prompt have different numbers of blanks or a blank with a name, ``noun``
            has more blanks than the goal (or fewer, if the order has no meaning), or ``nothing``,
            ``family`` or ``noun`` is empty.

    Example:
        >>> Template("pick up {}", "the agent is carrying {}").fill("pick up a red ball")
        'the agent is carrying a red ball'
    """

    goal: str = "{}"
    prompt: str = "{}"
    nothing: str | None = None
    symmetric: bool = False
    family: str | None = None
    noun: str | None = None

    def __post_init__(self) -> None:
        if self.goal.count("{}") != self.prompt.count("{}"):
            raise GoalError(
                f"template: goal {self.goal!r} has {self.goal.count('{}')} blanks, prompt "
                f"{self.prompt!r} has {self.prompt.count('{}')}; expected the same number of {{}}. "
                "Correct one of them."
            )
        blanks = (self.noun or "").count("{}")
        if blanks > self.goal.count("{}") or (self.symmetric and 0 < blanks < 2):
            expected = "both, or none" if self.symmetric else "at most as many"
            raise GoalError(
                f"template: goal {self.goal!r} has {self.goal.count('{}')} blanks, noun "
                f"{self.noun!r} has {blanks}; expected {expected}. Correct one of them."
            )
        patterns = (("goal", self.goal), ("prompt", self.prompt), ("noun", self.noun or ""))
        for name, pattern in patterns:
            named = re.search(r"\{[^{}]+\}", pattern)
            if named:
                raise GoalError(
                    f"template {self.goal!r}: got {named[0]!r} in its {name}, expected {{}} for "
                    "each blank. Write {}; blanks with names belong to the patterns of a grammar."
                )
        texts = (("nothing", self.nothing), ("family", self.family), ("noun", self.noun))
        for name, text in texts:
            if text is not None and not text.strip():
                raise GoalError(
                    f"template {self.goal!r}: {name} is empty, expected a text or None. Fill or "
                    "remove it."
                )

    def fill(self, text: str) -> str | None:
        """Return the prompt for ``text``, or None if the text does not match this template."""
        return self._filled(self.prompt, text)

    def noun_of(self, text: str) -> str | None:
        """Return the noun for ``text``, or None without one, or if the text does not match.

        Example:
            >>> Template("pick up the {}", "the {} is held", noun="a {}").noun_of("pick up the key")
            'a key'
        """
        return None if self.noun is None else self._filled(self.noun, text)

    def blanks_of(self, text: str) -> tuple[str, ...] | None:
        """Return what fills the blanks of ``goal`` in ``text``, or None if it does not match.

        Example:
            >>> Template("put {} by {}", "{} is by {}").blanks_of("put the key by the box")
            ('the key', 'the box')
        """
        goal = "(.+)".join(re.escape(part) for part in self.goal.split("{}"))
        match = re.fullmatch(goal, text)
        return None if match is None else match.groups()

    def _filled(self, pattern: str, text: str) -> str | None:
        found = self.blanks_of(text)
        if found is None:
            return None
        blanks = iter(sorted(found) if self.symmetric else found)
        return re.sub(r"\{\}", lambda _: next(blanks), pattern)
