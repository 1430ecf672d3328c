"""Goals, and sets of goals in a fixed order."""

import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals.others import OtherPrompts, PromptGroup, digest
from rllib_vlm_reward.goals.template import Template

__all__ = ["CURRICULUM_FIELDS", "MOST_GOALS", "Goal", "GoalSet", "check_number", "expand_goals"]

MOST_GOALS = 100_000
"""The most goals of one pattern."""

CURRICULUM_FIELDS = frozenset({"family", "difficulty"})
"""Fields of a goal that do not affect rewards."""

# What looks like a pattern in a text that is not expanded.
_UNEXPANDED = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]|[{}\[\]]|\S*\|\S*")


@dataclasses.dataclass(frozen=True, slots=True)
class Goal:
    """One goal.

    Attributes:
        text: the instruction that env and agent get; unique in the set.
        prompt: the text that CLIP reads: a description of the success state.
        negatives: the other members of L in the paper's equation 1, as CLIP reads them.
        baseline: description of the state before success, for the goal-baseline head (vlmrm).
        family: name of the group of goals to which it belongs in a curriculum; changes no reward.
        difficulty: a finite number, larger is harder; None if unknown. It changes no reward.
        noun: the thing that it is about, for a bonus or a map that looks for it; None if it has
            none.

    Raises:
        GoalError: a text is empty or has half of a character, the goal or its prompt is among its
            negatives, a negative is repeated, the baseline equals the prompt, or the difficulty is
            not finite.

    Example:
        >>> Goal("lift", "a hand holding a cup", negatives=("an empty hand",)).negatives
        ('an empty hand',)
        >>> Goal("lift", "a cup", negatives=("a cup",))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'lift': its prompt 'a cup' is among its \
negatives, so its probability can never exceed 1/2. Remove it from the negatives.
    """

    text: str
    prompt: str
    negatives: Sequence[str] = ()  # a tuple, or OtherPrompts, which are equal to one
    baseline: str | None = None
    family: str = ""
    difficulty: float | None = None
    noun: str | None = None

    def __post_init__(self) -> None:
        # A group's prompts are distinct, and each is checked with the goal that has it.
        negatives = self.negatives
        if isinstance(negatives, OtherPrompts):
            negatives = negatives.group.fixed
        statements: tuple[str, ...] = (self.text, self.prompt, *negatives)
        if self.baseline is not None:
            statements += (self.baseline,)
        if self.noun is not None:
            statements += (self.noun,)
        if any(not statement.strip() for statement in statements):
            raise GoalError(
                f"goal {self.text!r}: got an empty text in {self}, expected words. Fill it, or "
                "remove it."
            )
        for statement in statements:
            try:
                statement.encode()
            except UnicodeEncodeError:  # as YAML's "\ud83d" without its other half
                raise GoalError(
                    f"goal {self.text!r}: got {statement!r}, which has half of a character, "
                    "expected a text. Write the character itself."
                ) from None
        if self.prompt in self.negatives:
            raise GoalError(
                f"goal {self.text!r}: its prompt {self.prompt!r} is among its negatives, so its "
                "probability can never exceed 1/2. Remove it from the negatives."
            )
        if self.text in self.negatives:
            raise GoalError(
                f"goal {self.text!r}: it is among its negatives, expected descriptions of other "
                f"states than its prompt {self.prompt!r}. Remove it from the negatives."
            )
        if len(set(negatives)) < len(negatives):
            twice = sorted(_repeated(negatives))
            raise GoalError(f"goal {self.text!r}: negatives {twice} are repeated. Give each once.")
        if self.baseline == self.prompt:
            raise GoalError(
                f"goal {self.text!r}: its baseline equals its prompt {self.prompt!r}, expected "
                "a description of the state before success. Correct one of them."
            )
        if self.difficulty is not None and not math.isfinite(self.difficulty):
            raise GoalError(
                f"goal {self.text!r}: its difficulty is {self.difficulty}, expected a finite "
                "number. Leave it out if it is unknown."
            )


@dataclasses.dataclass(frozen=True)
class GoalSet:
    """The goals of a run in a fixed order. Frames refer to a goal by its index.

    Negatives are drawn once and are part of the set, so that they are fixed for the whole run
    (section 3.2 of the paper: "so that the reward is not stochastic"), also if the set grows
    (:meth:`grow`). A checkpoint stores the set with :meth:`to_dict`.

    Attributes:
        goals: the goals; their texts are distinct.

    Raises:
        GoalError: there is no goal, or a text is given more than once.

    Example:
        >>> goals = GoalSet.from_texts(
        ...     ["pick up a ball", "pick up a key"],
        ...     templates=[Template("pick up {}", "the agent is carrying {}", "empty hands")],
        ... )
        >>> goals[1].prompt, goals[1].negatives
        ('the agent is carrying a key', ('the agent is carrying a ball', 'empty hands'))
        >>> goals.index("pick up a key")
        1
        >>> goals.families
        {'pick up {}': (0, 1)}
        >>> GoalSet.from_dict(goals.to_dict()) == goals
        True
    """

    goals: tuple[Goal, ...]

    def __post_init__(self) -> None:
        if not self.goals:
            raise GoalError("goal set: got no goal, expected at least one. Add a goal.")
        texts = self.texts
        if len(set(texts)) < len(texts):
            twice = sorted(_repeated(texts))
            raise GoalError(f"goal set: {twice} are given more than once. Give each once.")

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        *,
        prompts: Mapping[str, str] = MappingProxyType({}),
        templates: Sequence[Template] = (Template(),),
        negatives: Sequence[str] = (),
        num_negatives: int | None = None,
        baseline: str | None = None,
        seed: int = 0,
    ) -> "GoalSet":
        """Build goals whose negatives are the other goals of the same template.

        Args:
            texts: goal texts. For each text, the first template that matches gives prompt and
                family.
            prompts: prompts by goal text, which replace the template's.
            templates: see :class:`Template`.
            negatives: statements added to the negatives of every goal, as CLIP reads them.
            num_negatives: how many *other goals* to draw as negatives, uniformly and without
                replacement, as in the paper; None takes all. The template's ``nothing`` and
                ``negatives`` are always added.
            baseline: baseline of every goal, for the goal-baseline head.
            seed: seed for drawing the negatives.

        Raises:
            GoalError: a text is repeated or matches no template, there are too few goals to draw
                from, or :class:`Goal` refuses a goal.
        """
        draw = _Draw(prompts, templates, negatives, num_negatives, baseline)
        return cls(draw((), texts, random.Random(seed)))

    def grow(
        self,
        texts: Iterable[str],
        *,
        prompts: Mapping[str, str] = MappingProxyType({}),
        templates: Sequence[Template] = (Template(),),
        negatives: Sequence[str] = (),
        num_negatives: int | None = None,
        baseline: str | None = None,
        seed: int = 0,
    ) -> "GoalSet":
        """Return a set with more goals, which have the indices after those of this set.

        The goals of this set are the same objects in the new one, so their negatives stay as they
        were drawn. The new goals draw theirs from all goals, also from each other. The draw depends
        on the seed and the number of goals in this set, so it is the same in every process.

        Args:
            texts: texts of the new goals.
            prompts, templates, negatives, num_negatives, baseline, seed: see :meth:`from_texts`;
                the same ones as for this set.

        Raises:
            GoalError: see :meth:`from_texts`; also if the set has one of the goals.

        Example:
            >>> two = GoalSet.from_texts(["a ball", "a key"])
            >>> three = two.grow(["a box"])
            >>> [goal.negatives for goal in three.goals]
            [('a key',), ('a ball',), ('a ball', 'a key')]
        """
        draw = _Draw(prompts, templates, negatives, num_negatives, baseline)
        new = draw(self.goals, texts, random.Random(f"{seed} {len(self)}"))
        return GoalSet(self.goals + new)

    def __len__(self) -> int:
        return len(self.goals)

    def __getitem__(self, index: int) -> Goal:
        return self.goals[index]

    @property
    def texts(self) -> tuple[str, ...]:
        """The goals' texts, in order."""
        return tuple(goal.text for goal in self.goals)

    @property
    def excerpt(self) -> str:
        """The first five texts, for messages."""
        return ", ".join(map(repr, self.texts[:5])) + (", ..." if len(self) > 5 else "")

    @cached_property
    def statements(self) -> tuple[str, ...]:
        """The distinct texts that CLIP reads: prompts, negatives and baselines."""
        found: dict[str, None] = {}
        seen: set[PromptGroup] = set()
        for goal in self.goals:
            found[goal.prompt] = None
            group = goal.negatives.group if isinstance(goal.negatives, OtherPrompts) else None
            if group not in seen:  # its other goals add no statement but their prompt
                found |= dict.fromkeys(goal.negatives)
            if group is not None:
                seen.add(group)
            if goal.baseline:
                found[goal.baseline] = None
        return tuple(found)

    @cached_property
    def families(self) -> dict[str, tuple[int, ...]]:
        """The indices of the goals of each family, in the order of the set."""
        families: dict[str, list[int]] = {}
        for index, goal in enumerate(self.goals):
            families.setdefault(goal.family, []).append(index)
        return {family: tuple(indices) for family, indices in families.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, as a hexadecimal text, of everything in the set that affects rewards."""
        goals = [(g.text, g.prompt, f"{digest(g.negatives):x}", g.baseline) for g in self.goals]
        content = json.dumps(goals)
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {text: index for index, text in enumerate(self.texts)}

    def index(self, text: str) -> int:
        """Return the index of the goal with this text.

        Raises:
            GoalError: there is no such goal. The message names the closest one.
        """
        try:
            return self._indices[text]
        except KeyError:
            close = difflib.get_close_matches(text, self.texts, n=1)
            near = f"The goals are {self.excerpt}."
            if close:
                near = f"The closest is {close[0]!r}. {near}"
            raise GoalError(
                f"goal set: got the unknown goal {text!r}, expected one of {len(self)} goals. "
                f"{near} Correct it, add it to the goals, or make the env choose "
                "among the goals, by its env_config or by a curriculum."
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the set as plain lists, dicts, strings and numbers."""
        fields = [field.name for field in dataclasses.fields(Goal)]
        goals = [{name: getattr(goal, name) for name in fields} for goal in self.goals]
        return {"goals": [{**goal, "negatives": tuple(goal["negatives"])} for goal in goals]}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "GoalSet":
        """Rebuild a set from the result of :meth:`to_dict`."""
        fields = ({**goal, "negatives": tuple(goal["negatives"])} for goal in state["goals"])
        return cls(tuple(Goal(**field) for field in fields))


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Makes goals with their negatives; see :meth:`GoalSet.from_texts` for the fields."""

    prompts: Mapping[str, str]
    templates: Sequence[Template]
    negatives: Sequence[str]
    num_negatives: int | None
    baseline: str | None

    def __call__(
        self, known: Sequence[Goal], texts: Iterable[str], rng: random.Random
    ) -> tuple[Goal, ...]:
        """Return a goal for each text; negatives are drawn from these and the known goals."""
        members = {goal.text: (goal.prompt, _match(goal.text, self.templates)[1]) for goal in known}
        for text in texts:
            if text in members:
                raise GoalError(f"goal set: {text!r} is given more than once. Give it once.")
            prompt, template = _match(text, self.templates)
            members[text] = self.prompts.get(text, prompt), template
        positions: dict[Template, dict[str, int]] = {}  # of each distinct prompt
        for prompt, template in members.values():
            group = positions.setdefault(template, {})
            group.setdefault(prompt, len(group))
        prompts_of = {template: list(group) for template, group in positions.items()}
        groups = {
            template: PromptGroup(
                prompts, [*([template.nothing] if template.nothing else []), *self.negatives]
            )
            for template, prompts in prompts_of.items()
        }
        goals = []
        for text, (prompt, template) in itertools.islice(members.items(), len(known), None):
            others: Sequence[str]
            if self.num_negatives is None:
                others = OtherPrompts(groups[template], prompt)
            else:
                position, fixed = positions[template][prompt], groups[template].fixed
                drawn = _draw_others(text, prompts_of[template], position, self.num_negatives, rng)
                others = (*(other for other in drawn if other not in fixed), *fixed)
            family = template.goal if template.family is None else template.family
            noun = template.noun_of(text)
            goals.append(Goal(text, prompt, others, self.baseline, family, noun=noun))
        return tuple(goals)


def _match(text: str, templates: Sequence[Template]) -> tuple[str, Template]:
    if not text.strip():
        raise GoalError("goal set: got an empty text, expected words. Fill or remove it.")
    for template in templates:
        prompt = template.fill(text)
        if prompt is not None:
            return prompt, template
    raise GoalError(
        f"goal {text!r}: no template matches it, got {[t.goal for t in templates]}. "
        'Add a template whose goal pattern matches; "{}" matches any text.'
    )


def _draw_others(
    text: str, prompts: list[str], position: int, number: int, rng: random.Random
) -> list[str]:
    """Draw from all prompts except the one at ``position``, without copying the list."""
    rest = len(prompts) - 1
    if not 0 <= number <= rest:
        raise GoalError(
            f"goal {text!r}: num_negatives is {number}, expected 0 to {rest}, the number of other "
            "goals of its template. Lower it, or add goals."
        )
    return [prompts[i + (i >= position)] for i in rng.sample(range(rest), number)]


def expand_goals(pattern: str) -> list[str]:
    """Expand the choices ``{a|b}`` of a pattern; the last choice varies fastest.

    Raises:
        GoalError: a brace is not closed or not opened; braces, brackets or a bar expand to
            nothing, so that the pattern would be one literal goal; or there are more than
            :data:`MOST_GOALS` goals.

    Example:
        >>> expand_goals("pick up the {red|blue} {ball|key}")
        ['pick up the red ball', 'pick up the red key', 'pick up the blue ball', \
'pick up the blue key']
        >>> expand_goals("pick up the {red,blue} ball")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goals: got 'pick up the {red,blue} ball', of which \
'{red,blue}' expands to nothing. Write choices as {red|blue}, in quotes; for blanks such as \
{color}, give a grammar with `words`; for a text with these characters, give {text: ...}.
    """
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", pattern)):
        raise GoalError(
            f"goals: got {pattern!r} with an unmatched brace, expected choices as in 'a "
            "{red|blue} ball'. Close or remove the brace."
        )
    parts = re.split(r"\{([^{}]*\|[^{}]*)\}", pattern)
    for part in parts[::2]:
        left = _UNEXPANDED.search(part)
        if left:
            raise GoalError(
                f"goals: got {pattern!r}, of which {left[0]!r} expands to nothing. Write choices "
                "as {red|blue}, in quotes; for blanks such as {color}, give a grammar with "
                "`words`; for a text with these characters, give {text: ...}."
            )
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    check_number(pattern, math.prod(map(len, choices)))
    return ["".join(choice) for choice in itertools.product(*choices)]


def check_number(pattern: str, number: int) -> None:
    """Check that a pattern does not have too many goals, before they are made.

    Raises:
        GoalError: there are more than :data:`MOST_GOALS` goals.

    Example:
        >>> check_number("{a|b}" * 22, 2**22)
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goals: the pattern '{a|b}{a|b}{a|b}{a|b}{a|b}{a|b}...' \
has 4,194,304 goals, expected at most 100,000. Use fewer choices, or list the goals that the env \
has.
    """
    if number > MOST_GOALS:
        excerpt = pattern if len(pattern) <= 60 else f"{pattern[:30]}..."
        raise GoalError(
            f"goals: the pattern {excerpt!r} has {number:,} goals, expected at most "
            f"{MOST_GOALS:,}. Use fewer choices, or list the goals that the env has."
        )


def _repeated(texts: Iterable[str]) -> set[str]:
    return {text for text, number in Counter(texts).items() if number > 1}
