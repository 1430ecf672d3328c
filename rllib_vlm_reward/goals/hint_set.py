"""Hints: statements of what an agent reaches on the way to its goal."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals.goal_set import Goal, GoalSet
from rllib_vlm_reward.goals.template import Template

__all__ = ["Hint", "HintSet"]

_BLANK = re.compile(r"\{(\d+)\}")
_BRACES = re.compile(r"\{[^{}]*\}|[{}]|\|")


@dataclasses.dataclass(frozen=True, slots=True)
class Hint:
    """A statement that an agent reaches on the way to the goals of a pattern.

    Attributes:
        pattern: pattern of the goals' texts, with ``{}`` for each blank.
        statement: what CLIP reads, with ``{0}`` for what stands in the first blank of the goal's
            text, ``{1}`` for the second, and so on.
        nothing: a statement that holds if the hint holds for no goal, such as "the agent is facing
            nothing". None takes that of the templates with the same prompt, if there are any.

    Raises:
        GoalError: the statement is empty, has a blank that the pattern has not, or other braces.

    Example:
        >>> hint = Hint("put {} next to {}", "the agent is facing {1}")
        >>> hint.fill("put a ball next to a key"), hint.fill("find a key")
        ('the agent is facing a key', None)
        >>> hint.shape
        'the agent is facing {}'
    """

    pattern: str
    statement: str
    nothing: str | None = None

    def __post_init__(self) -> None:
        if not self.statement.strip() or (self.nothing is not None and not self.nothing.strip()):
            raise GoalError(
                f"hint {self.name!r}: got an empty text, expected words. Fill or remove it."
            )
        left = _BRACES.search(_BLANK.sub("", self.statement)) or _BRACES.search(self.nothing or "")
        if left:
            raise GoalError(
                f"hint {self.name!r}: got {left[0]!r}, which CLIP would read as it is, expected "
                "{0} for what stands in the first blank of the goal, {1} for the second, and so "
                "on; in `nothing` no blanks. Correct it."
            )
        blanks = self.pattern.count("{}")
        beyond = [number for number in self._numbers if number >= blanks]
        if beyond:
            raise GoalError(
                f"hint {self.name!r}: got {{{beyond[0]}}}, but the pattern has {blanks} blanks, "
                "which are counted from {0}. Correct the number, or write {} for another blank of "
                "the pattern."
            )

    @property
    def name(self) -> str:
        """The pattern and the statement, for metrics and alarms."""
        return f"{self.pattern}: {self.statement}"

    @property
    def shape(self) -> str:
        """The statement as a template's prompt is written, with ``{}`` for each blank."""
        return _BLANK.sub("{}", self.statement)

    @property
    def _numbers(self) -> list[int]:
        return [int(number) for number in _BLANK.findall(self.statement)]

    def fill(self, text: str, *, symmetric: bool = False) -> str | None:
        """Return the statement for a goal, or None if its text does not match the pattern.

        Args:
            text: the goal's text.
            symmetric: whether the order of the blanks has no meaning, see
                :attr:`.Template.symmetric`.
        """
        blanks = Template(self.pattern, self.pattern).blanks_of(text)
        if blanks is None:
            return None
        found = [blanks[number] for number in self._numbers]
        filled = iter(sorted(found) if symmetric else found)
        return _BLANK.sub(lambda _: next(filled), self.statement)


@dataclasses.dataclass(frozen=True)
class HintSet:
    """The hints of a goal set: their statements as goals, and which goal has which of them.

    A statement is scored as a goal with this prompt would be. Its negatives are all other
    statements of the same shape, so "facing a ball" is compared with "facing a key", and not with
    "carrying a ball", which may hold at the same time; then the prompts of the templates with the
    same prompt, ``nothing``, and the negatives of every goal.

    Attributes:
        hints: the hints as they are written.
        goals: the distinct statements, as goals.
        of_goal: for each goal the hints that it has: the index in ``hints`` and that in ``goals``.

    Example:
        >>> goals = GoalSet.from_texts(["lift a ball", "lift a key"])
        >>> hints = HintSet.of([Hint("lift {}", "facing {0}", "facing nothing")], goals)
        >>> hints.goals[0].prompt, hints.goals[0].negatives
        ('facing a ball', ('facing a key', 'facing nothing'))
        >>> hints.of_goal
        (((0, 0),), ((0, 1),))
    """

    hints: tuple[Hint, ...]
    goals: GoalSet
    of_goal: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(
        cls,
        hints: Sequence[Hint],
        goals: GoalSet,
        *,
        templates: Sequence[Template] = (),
        negatives: Sequence[str] = (),
        num_negatives: int | None = None,
        baseline: str | None = None,
        seed: int = 0,
    ) -> "HintSet":
        """Fill hints for all goals; those of a goal are the hints of the first pattern it matches.

        Args:
            hints: the hints; those of one pattern belong together.
            goals: the goals.
            templates: the templates of the goals.
            negatives: see :meth:`.GoalSet.from_texts`.
            num_negatives: the same; all where there are fewer.
            baseline: the same.
            seed: the same.

        Raises:
            GoalError: a pattern matches no goal, a goal would have a statement twice or its own
                prompt as a hint, or a statement is among its negatives.
        """
        by_prompt: dict[str, list[Template]] = {}
        for template in templates:
            by_prompt.setdefault(template.prompt, []).append(template)
        found = [[*_hints_of(goal, hints, by_prompt)] for goal in goals.goals]
        _check_patterns(hints, found, goals)
        by_shape: dict[str, dict[str, None]] = {}
        for line, text in itertools.chain(*found):
            by_shape.setdefault(hints[line].shape, {})[text] = None
        made: dict[tuple[str, str], Goal] = {}
        for shape, texts in by_shape.items():
            nothing = [hint.nothing for hint in hints if hint.shape == shape]
            others = dict(texts)
            for template in by_prompt.get(shape, ()):
                nothing.append(template.nothing)
                others |= dict.fromkeys(
                    goal.prompt for goal in goals.goals if template.fill(goal.text) == goal.prompt
                )
            group = GoalSet.from_texts(
                others,
                negatives=[*dict.fromkeys([*filter(None, nothing), *negatives])],
                num_negatives=num_negatives and min(num_negatives, len(others) - 1),
                baseline=baseline,
                seed=seed,
            )
            made |= {(shape, text): group[group.index(text)] for text in texts}
        # A goal may have the same text, which is unique in the set of both.
        named = [
            dataclasses.replace(goal, text=f"hint {number}: {goal.prompt}", family="")
            for number, goal in enumerate(made.values())
        ]
        places = {key: place for place, key in enumerate(made)}
        of_goal = (
            tuple((line, places[hints[line].shape, text]) for line, text in each) for each in found
        )
        return cls(tuple(hints), GoalSet(tuple(named)), tuple(of_goal))

    @cached_property
    def most(self) -> int:
        """The number of hints of the goal that has the most."""
        return max(map(len, self.of_goal))


def _hints_of(
    goal: Goal, hints: Sequence[Hint], by_prompt: Mapping[str, Sequence[Template]]
) -> Iterator[tuple[int, str]]:
    """Yield the index and the filled statement of each hint of a goal."""
    pattern, seen = None, set[str]()
    for line, hint in enumerate(hints):
        if pattern not in (None, hint.pattern):
            continue
        symmetric = any(template.symmetric for template in by_prompt.get(hint.shape, ()))
        text = hint.fill(goal.text, symmetric=symmetric)
        if text is None:
            continue
        pattern = hint.pattern
        if text == goal.prompt:
            raise GoalError(
                f"hint {hint.name!r}: for the goal {goal.text!r} it is the goal's own prompt, so "
                "success would be paid twice. Remove the hint."
            )
        if text in seen:
            raise GoalError(
                f"hint {hint.name!r}: the goal {goal.text!r} has the statement {text!r} twice, "
                "expected it once. Remove one of them."
            )
        seen.add(text)
        yield line, text


def _check_patterns(
    hints: Sequence[Hint], found: Sequence[Sequence[tuple[int, str]]], goals: GoalSet
) -> None:
    used = {hints[line].pattern for each in found for line, _ in each}
    for hint in hints:
        if hint.pattern not in used:
            raise GoalError(
                f"hints: the pattern {hint.pattern!r} matches no training goal that an earlier "
                f"pattern has not, expected some of {goals.excerpt}. Write {{}} for each part that "
                "differs between goals, or remove the pattern."
            )
