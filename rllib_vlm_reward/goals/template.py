"""From a goal's text to what CLIP reads."""

import dataclasses
import re

from rllib_vlm_reward.errors import GoalError

__all__ = ["Template"]


@dataclasses.dataclass(frozen=True, slots=True)
class Template:
    """Rewrites a goal's text into the statement that CLIP reads.

    The paper's lesson (section 4.4, figure 5): describe the *success state* ("Screenshot of X on
    Android"), not the verb ("Open X"). Goals of one template exclude each other, so they serve
    as each other's negatives.

    Attributes:
        goal: pattern of the goal's text, with one ``{}`` a blank.
        prompt: the success state, with as many ``{}``, filled in order.
        nothing: the statement that none of these goals is reached, a negative of each.
        symmetric: the blanks' order means nothing ("a is next to b"), so prompts have them sorted,
            and a goal is not weighed against its own reverse.
        family: name of its goals' family; None takes ``goal``. Changes no reward.

    Raises:
        GoalError: other numbers of blanks, or an empty ``nothing`` or ``family``.

    Example:
        >>> Template("pick up {}", "the agent is carrying {}").fill("pick up a red ball")
        'the agent is carrying a red ball'
    """

    goal: str = "{}"
    prompt: str = "{}"
    nothing: str | None = None
    symmetric: bool = False
    family: str | None = None

    def __post_init__(self) -> None:
        if self.goal.count("{}") != self.prompt.count("{}"):
            raise GoalError(
                f"template: goal {self.goal!r} has {self.goal.count('{}')} blanks, prompt "
                f"{self.prompt!r} has {self.prompt.count('{}')}; expected the same number of {{}}."
            )
        for name, words in (("nothing", self.nothing), ("family", self.family)):
            if words is not None and not words.strip():
                raise GoalError(f"template {self.goal!r}: {name} is empty, expected words or None.")

    def fill(self, text: str) -> str | None:
        """Return the prompt for ``text``, or None if the text is not of this template's form."""
        pattern = "(.+)".join(re.escape(part) for part in self.goal.split("{}"))
        match = re.fullmatch(pattern, text)
        if match is None:
            return None
        blanks = iter(sorted(match.groups()) if self.symmetric else match.groups())
        return re.sub(r"\{\}", lambda _: next(blanks), self.prompt)
