"""A goal, and the goals of a run in a fixed order."""

import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals.template import Template

__all__ = ["CURRICULUM_FIELDS", "Goal", "GoalSet", "expand_goals"]

CURRICULUM_FIELDS = frozenset({"family", "difficulty"})
"""Fields of a goal on which no reward depends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Goal:
    """One goal.

    Attributes:
        text: what the env and the agent are asked for, unique in the set.
        prompt: what CLIP reads: a description of the success state.
        negatives: the other members of L in the paper's equation 1, in CLIP's words.
        baseline: the state before success, for the goal-baseline head (vlmrm).
        family: name of the goals that it is learnt with; changes no reward.
        difficulty: finite, larger is harder; None if not known. Changes no reward.

    Raises:
        GoalError: an empty text, the goal or its prompt among its own negatives, a repeated
            negative, or a difficulty that is not finite.

    Example:
        >>> Goal("lift", "a hand holding a cup", negatives=("an empty hand",)).negatives
        ('an empty hand',)
        >>> Goal("lift", "a cup", negatives=("a cup",))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'lift': its prompt 'a cup' is among its own \
negatives, so its probability can never pass 1/2. Remove it there.
    """

    text: str
    prompt: str
    negatives: tuple[str, ...] = ()
    baseline: str | None = None
    family: str = ""
    difficulty: float | None = None

    def __post_init__(self) -> None:
        statements: tuple[str, ...] = (self.text, self.prompt, *self.negatives)
        if self.baseline is not None:
            statements += (self.baseline,)
        if any(not statement.strip() for statement in statements):
            raise GoalError(f"goal {self.text!r}: got an empty text, expected words. {self}")
        if self.prompt in self.negatives:
            raise GoalError(
                f"goal {self.text!r}: its prompt {self.prompt!r} is among its own negatives, "
                "so its probability can never pass 1/2. Remove it there."
            )
        if self.text in self.negatives:
            raise GoalError(
                f"goal {self.text!r}: it is among its own negatives, expected statements of "
                f"another state than its prompt {self.prompt!r}. Remove it there."
            )
        if len(set(self.negatives)) < len(self.negatives):
            twice = sorted({n for n in self.negatives if self.negatives.count(n) > 1})
            raise GoalError(f"goal {self.text!r}: negatives {twice} are repeated. Give each once.")
        if self.baseline == self.prompt:
            raise GoalError(
                f"goal {self.text!r}: its baseline equals its prompt {self.prompt!r}, expected "
                "a description of the state before success."
            )
        if self.difficulty is not None and not math.isfinite(self.difficulty):
            raise GoalError(
                f"goal {self.text!r}: its difficulty is {self.difficulty}, expected a finite "
                "number. Leave it out where it is not known."
            )


@dataclasses.dataclass(frozen=True)
class GoalSet:
    """The goals of a run, in a fixed order; a frame carries its goal's index.

    Negatives are drawn once and are part of the set (the paper, section 3.2: fixed for the whole
    run, "so that the reward is not stochastic"), so :meth:`to_dict` is all a checkpoint needs.

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
            raise GoalError("goal set: got no goal, expected at least one.")
        texts = self.texts
        if len(set(texts)) < len(texts):
            twice = sorted({text for text in texts if texts.count(text) > 1})
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
            texts: goal texts; the first template that fits each one applies, and names its family.
            prompts: prompts by goal text, in place of the template's.
            templates: see :class:`Template`.
            negatives: statements added to every goal's negatives, as CLIP reads them.
            num_negatives: how many *other goals* to draw, uniformly and without replacement, as
                in the paper; None takes all. ``nothing`` and ``negatives`` always stay.
            baseline: every goal's baseline, for the goal-baseline head.
            seed: seed for drawing the negatives.

        Raises:
            GoalError: a text that no template fits, too few goals to draw from, or a goal that
                :class:`Goal` refuses.
        """
        members: dict[str, tuple[str, Template]] = {}
        for text in texts:
            if text in members:
                raise GoalError(f"goal set: {text!r} is given more than once. Give it once.")
            prompt, template = _match(text, templates)
            members[text] = prompts.get(text, prompt), template
        exclusive: dict[Template, dict[str, int]] = {}
        for prompt, template in members.values():
            group = exclusive.setdefault(template, {})
            group.setdefault(prompt, len(group))
        prompts_of = {template: list(group) for template, group in exclusive.items()}
        rng = random.Random(seed)
        goals = []
        for text, (prompt, template) in members.items():
            own = exclusive[template][prompt]
            others = _others(text, prompts_of[template], own, num_negatives, rng)
            fixed = ([template.nothing] if template.nothing else []) + list(negatives)
            drawn = [other for other in others if other not in fixed]
            family = template.goal if template.family is None else template.family
            goals.append(Goal(text, prompt, tuple(drawn + fixed), baseline, family))
        return cls(tuple(goals))

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
        """Every distinct text that CLIP must read: prompts, negatives and baselines."""
        each = (
            (g.prompt, *g.negatives, *((g.baseline,) if g.baseline else ())) for g in self.goals
        )
        return tuple(dict.fromkeys(itertools.chain.from_iterable(each)))

    @cached_property
    def families(self) -> dict[str, tuple[int, ...]]:
        """The indices of each family's goals, all in the set's order."""
        found: dict[str, list[int]] = {}
        for index, goal in enumerate(self.goals):
            found.setdefault(goal.family, []).append(index)
        return {family: tuple(indices) for family, indices in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the set's rewards depend on, in hex."""
        goals = [
            {key: value for key, value in goal.items() if key not in CURRICULUM_FIELDS}
            for goal in self.to_dict()["goals"]
        ]
        content = json.dumps({"goals": goals}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {text: index for index, text in enumerate(self.texts)}

    def index(self, text: str) -> int:
        """Return the index of the goal with this text.

        Raises:
            GoalError: no such goal; names the closest one.
        """
        try:
            return self._indices[text]
        except KeyError:
            close = difflib.get_close_matches(text, self.texts, n=1)
            near = f"The closest is {close[0]!r}." if close else f"It holds {self.excerpt}."
            raise GoalError(
                f"goal set: got the unknown goal {text!r}, expected one of {len(self)}. {near} "
                "Correct or add it in the goals, or let the env choose among them."
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the set as plain lists, dicts, strings and numbers."""
        return {"goals": [dataclasses.asdict(goal) for goal in self.goals]}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> "GoalSet":
        """Rebuild the set that :meth:`to_dict` gave."""
        fields = ({**goal, "negatives": tuple(goal["negatives"])} for goal in state["goals"])
        return cls(tuple(Goal(**field) for field in fields))


def _match(text: str, templates: Sequence[Template]) -> tuple[str, Template]:
    if not text.strip():
        raise GoalError("goal set: got an empty text, expected words. Remove or fill it.")
    for template in templates:
        prompt = template.fill(text)
        if prompt is not None:
            return prompt, template
    raise GoalError(
        f"goal {text!r}: no template fits it, got {[t.goal for t in templates]}. "
        'Add one whose goal pattern matches it; "{}" matches any text.'
    )


def _others(
    text: str, prompts: list[str], own: int, number: int | None, rng: random.Random
) -> list[str]:
    """Draw from all prompts but the own one; the cost is that of the draw."""
    rest = len(prompts) - 1
    if number is None:
        return prompts[:own] + prompts[own + 1 :]
    if not 0 <= number <= rest:
        raise GoalError(
            f"goal {text!r}: num_negatives is {number}, expected 0 to {rest}, the number of other "
            "goals of its template."
        )
    return [prompts[i + (i >= own)] for i in rng.sample(range(rest), number)]


def expand_goals(pattern: str) -> list[str]:
    """Expand ``{a|b}`` choices, the last one varying fastest.

    Example:
        >>> expand_goals("pick up the {red|blue} {ball|key}")
        ['pick up the red ball', 'pick up the red key', 'pick up the blue ball', \
'pick up the blue key']

    Raises:
        GoalError: a brace without its other half.
    """
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", pattern)):
        raise GoalError(
            f"goals: got {pattern!r} with a brace that lacks its other half, expected choices as "
            "in 'a {red|blue} ball'. Close or remove it."
        )
    parts = re.split(r"\{([^{}]*\|[^{}]*)\}", pattern)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]
