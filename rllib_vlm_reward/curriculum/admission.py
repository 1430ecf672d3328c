"""Which of the goals that were proposed a run gets, and why not the others."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import Goal, GoalSet, Template

__all__ = ["REASONS", "Judge", "Rules", "Verdict", "admit"]

REASONS = {
    "failed": "the proposer raised an error, or returned nothing that can be read",
    "no_text": "not a text, or an empty one",
    "too_long": "more than 80 characters",
    "not_plain": "a character that cannot be printed, or one of markup",
    "known": "the run has this goal, or one with this prompt",
    "held_out": "held out for evaluation, or too much like a goal that is",
    "refused_before": "refused for good at an earlier time",
    "no_template": "no template matches, or it cannot be a goal beside the others",
    "too_many": "beyond `at_once` or `at_most`; what follows 10,000 texts counts once",
    "unreadable": "longer than the encoder reads",
    "alike": "its prompt is too much like a statement that there is",
    "indistinct": "the encoder does not tell it from its neighbour in any frame",
    "always": "its reward fires in every frame",
    "not_posed": "the env cannot be reset with it",
    "unchecked": "encoder or env did not answer, so nothing of a proposal was checked",
}
"""Why a proposed goal is refused, in the order of the checks."""

_MOST_READ = 10_000
_LONGEST = 80
_CANDIDATES = 2  # times as many goals as may be admitted are checked, since some are refused
_MARKUP = frozenset('{}[]<>|`*#\\"')
_MIN_FRAMES = 4  # for a reward that fires in every frame
_PAIRS = 8  # of known goals, which show how well the encoder distinguishes goals
_DISTINCT = 0.1  # as a share of the difference between these
_ROUNDING = 1e-6  # of the cosine of two texts that the encoder reads as the same

Floats = npt.NDArray[np.float32]


class Judge(Protocol):
    """What only the encoder and the env know of goals."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the embeddings of N texts, float32 ``[N, D]``, unit norm.

        Raises:
            GoalError: the encoder does not read a text to its end.
        """

    def cosines(self, goals: GoalSet, indices: Sequence[int]) -> Floats:
        """Return the cosine of each of F recent frames with each goal: float32 ``[F, G]``."""

    def scores(self, goals: GoalSet, indices: Sequence[int]) -> Floats:
        """Return the score of each of F recent frames for each goal: float32 ``[F, G]``."""

    def posed(self, texts: Sequence[str]) -> Sequence[bool]:
        """Return for each of N goals whether the env can be reset with it."""


class Rules(NamedTuple):
    """What goals are admitted by.

    Attributes:
        templates: one of them must match.
        held_out: the goals that are held out for evaluation.
        grow: returns the training goals with more goals; see :meth:`.GoalSet.grow`.
        threshold: the score above which a reward fires; None if there is none.
        at_once: the most goals that are admitted.
        at_most: the most training goals, with those that there are.
        most_alike: the cosine at which two statements are too much alike.
    """

    templates: Sequence[Template]
    held_out: Sequence[Goal]
    grow: Callable[[GoalSet, Sequence[str]], GoalSet]
    threshold: float | None
    at_once: int
    at_most: int
    most_alike: float


class Verdict(NamedTuple):
    """What became of a proposal.

    Attributes:
        admitted: the new goals.
        counts: how many texts were refused, by reason.
        refused: the texts among them that would be refused again, with the reason.
    """

    admitted: tuple[str, ...]
    counts: Counter[str]
    refused: dict[str, str]


def admit(
    said: object, goals: GoalSet, rules: Rules, judge: Judge, refused_before: Container[str] = ()
) -> Verdict:
    """Admit some of the goals that a proposer said.

    Args:
        said: what the proposer returned; a text counts as lines. At most 10,000 texts are read,
            and an exception while they are is a refusal.
        goals: the training goals.
        rules: what goals are admitted by.
        judge: asked about goals whose text is in order.
        refused_before: texts that are refused without a check.

    Example:
        >>> class Kind:  # who has nothing against a goal
        ...     def embed(self, texts):
        ...         return np.eye(9, dtype=np.float32)[: len(texts)]
        ...     def cosines(self, goals, indices):
        ...         return np.zeros((0, len(indices)), np.float32)
        ...     scores = cosines
        ...     def posed(self, texts):
        ...         return [True] * len(texts)
        >>> rules = Rules([Template("a {}")], [], GoalSet.grow, None, 5, 500, 0.98)
        >>> goals = GoalSet.from_texts(["a ball", "a key"])
        >>> verdict = admit("a box\\na ball\\n<b>a door</b>", goals, rules, Kind())
        >>> verdict.admitted, dict(verdict.counts)
        (('a box',), {'known': 1, 'not_plain': 1})
    """
    counts: Counter[str] = Counter()
    kept: dict[str, None] = {}
    texts = _Texts(goals, rules, refused_before)
    most = max(0, min(rules.at_once, rules.at_most - len(goals)))
    for item in _read(said, counts):
        text = str(item).strip() if isinstance(item, str) else item
        reason = texts.reason(text)
        if reason is None and len(kept) >= _CANDIDATES * most:
            reason = "too_many"
        if reason is None:
            kept[text] = None
            texts.add(text)
        else:
            counts[reason] += 1
    if not kept:
        return Verdict((), counts, {})
    verdict = _Hearing(goals, rules, judge, [*kept]).verdict()
    counts["too_many"] += len(verdict.admitted[most:])
    return verdict._replace(admitted=verdict.admitted[:most], counts=counts + verdict.counts)


def _read(said: object, counts: Counter[str]) -> list[Any]:
    """Return the first items of a proposal, and count what is refused of it as a whole."""
    items: list[Any] = []
    try:
        for item in said.splitlines() if isinstance(said, str) else said:  # type: ignore[attr-defined]
            if len(items) == _MOST_READ:  # the rest may have no end
                counts["too_many"] += 1
                break
            items.append(item)
    except Exception:  # code of the user: whatever it raises, training goes on
        counts["failed"] += 1
    return items


class _Texts:
    """The checks that need neither encoder nor env."""

    def __init__(self, goals: GoalSet, rules: Rules, refused_before: Container[str]) -> None:
        self._rules, self._refused_before = rules, refused_before
        self._known = {*goals.texts, *goals.statements}
        self._held_out = {text for goal in rules.held_out for text in (goal.text, goal.prompt)}
        self._markup = _MARKUP.difference(*goals.texts)

    def reason(self, text: Any) -> str | None:
        """Return why a text is refused; None if nothing is against it."""
        if not isinstance(text, str) or not text:
            return "no_text"
        if len(text) > _LONGEST:
            return "too_long"
        if not text.isprintable() or not self._markup.isdisjoint(text):
            return "not_plain"
        if text in self._refused_before:
            return "refused_before"
        prompt = self._prompt_of(text)
        if not {text, prompt}.isdisjoint(self._held_out):
            return "held_out"
        if not {text, prompt}.isdisjoint(self._known):
            return "known"
        return "no_template" if prompt is None else None

    def add(self, text: str) -> None:
        """Know a text against which nothing is, so that no other has its prompt, or is its prompt.

        A goal that is the prompt of another one could be among its own negatives.
        """
        self._known |= {text, str(self._prompt_of(text))}

    def _prompt_of(self, text: str) -> str | None:
        prompts = (template.fill(text) for template in self._rules.templates)
        return next((each for each in prompts if each is not None), None)


class _Hearing:
    """The checks of few candidates, by encoder and env."""

    def __init__(
        self, goals: GoalSet, rules: Rules, judge: Judge, candidates: Sequence[str]
    ) -> None:
        self._goals, self._rules, self._judge = goals, rules, judge
        self._left = list(candidates)
        self._refused: dict[str, str] = {}

    def verdict(self) -> Verdict:
        for check in (self._fit, self._read, self._tell_apart, self._see, self._pose):
            if self._left:
                check()
        return Verdict(tuple(self._left), Counter(self._refused.values()), self._refused)

    def _refuse(self, texts: Iterable[str], reason: str) -> None:
        self._refused.update(dict.fromkeys(texts, reason))
        self._left = [text for text in self._left if text not in self._refused]

    def _fit(self) -> None:
        for text in [*self._left]:
            try:
                self._rules.grow(self._goals, [text])
            except GoalError:
                self._refuse([text], "no_template")

    def _read(self) -> None:
        prompts = self._prompts()
        try:
            self._judge.embed(prompts)
        except GoalError:
            for text, prompt in zip([*self._left], prompts, strict=True):
                try:
                    self._judge.embed([prompt])
                except GoalError:
                    self._refuse([text], "unreadable")

    def _tell_apart(self) -> None:
        """Compare each prompt with the statements that there are, and with those before it."""
        held_out = [goal.prompt for goal in self._rules.held_out]
        known = [*dict.fromkeys((*self._goals.statements, *held_out))]
        embedded = self._judge.embed([*known, *self._prompts()])
        others, kinds = list(embedded[: len(known)]), [text in held_out for text in known]
        for text, own in zip([*self._left], embedded[len(known) :], strict=True):
            cosines = np.stack(others) @ own
            nearest = int(np.argmax(cosines))
            if cosines[nearest] >= self._rules.most_alike - _ROUNDING:
                self._refuse([text], "held_out" if kinds[nearest] else "alike")
            else:
                others.append(own)
                kinds.append(False)

    def _see(self) -> None:
        """Ask in recent frames for goals that look like their neighbour, or hold everywhere."""
        grown, first = self._rules.grow(self._goals, self._left), len(self._goals)
        prompts = [goal.prompt for goal in grown.goals]
        embedded = self._judge.embed(prompts)
        new = range(first, len(grown))
        shown = np.unique(np.linspace(0, first - 1, min(first, _PAIRS)).astype(int)).tolist()
        indices = [*shown, *new]
        neighbours = [_nearest(embedded, index, prompts) for index in indices]
        seen = self._judge.cosines(grown, [*indices, *neighbours])
        if not len(seen):
            return
        apart = np.abs(seen[:, : len(indices)] - seen[:, len(indices) :]).max(axis=0)
        least = _DISTINCT * float(np.median(apart[: len(shown)]))
        indistinct = [
            grown[i].text for i, far in zip(new, apart[len(shown) :], strict=True) if far < least
        ]
        threshold, always = self._rules.threshold, set[str]()
        if threshold is not None and len(seen) >= _MIN_FRAMES:
            fires = (self._judge.scores(grown, new) > threshold).all(axis=0)
            always = {grown[new[place]].text for place in np.flatnonzero(fires)}
        self._refuse(indistinct, "indistinct")
        self._refuse(always.difference(indistinct), "always")

    def _pose(self) -> None:
        posed = self._judge.posed(self._left)
        self._refuse(
            [text for text, is_posed in zip(self._left, posed, strict=True) if not is_posed],
            "not_posed",
        )

    def _prompts(self) -> list[str]:
        grown = self._rules.grow(self._goals, self._left)
        return [goal.prompt for goal in grown.goals[len(self._goals) :]]


def _nearest(embedded: Floats, index: int, prompts: Sequence[str]) -> int:
    """Return the goal whose prompt is the most like another goal's, and not the same."""
    cosines = embedded @ embedded[index]
    cosines[[other for other, prompt in enumerate(prompts) if prompt == prompts[index]]] = -np.inf
    return int(np.argmax(cosines))
