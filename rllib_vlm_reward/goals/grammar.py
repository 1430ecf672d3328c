"""Goals from a grammar: patterns with blanks, and a split into training and evaluation."""

import difflib
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, combinations, product
from typing import Annotated, NamedTuple

import pydantic
from pydantic import Field

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals.goal_set import check_number
from rllib_vlm_reward.settings import Section

__all__ = ["Grammar", "HeldOut", "Split"]

_BLANK = re.compile(r"\{([^{}]*)\}")
_OBJECT = re.compile(r"\{[^{}]*\}(?: +\{[^{}]*\})*")

Words = tuple[str, ...]
Pair = tuple[str, str]


class Split(NamedTuple):
    """The texts that a grammar makes.

    Attributes:
        training: the goals without held-out words and pairs.
        evaluation: the goals with held-out words or pairs, then all paraphrases.
    """

    training: Words
    evaluation: Words


class HeldOut(Section):
    """The words and pairs of words that no training goal uses.

    Attributes:
        words: the held-out words of each list, by the list's name.
        pairs: pairs of words that no training goal uses for one object. Each of the two words is
            in some training goal with another partner.
        num_pairs: how many such pairs to draw; use it instead of ``pairs``.
        seed: seed for drawing these pairs.
    """

    words: dict[str, Words] = Field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    num_pairs: Annotated[int, Field(ge=0)] = 0
    seed: int = 0


class _Goal(NamedTuple):
    text: str
    objects: tuple[Words, ...]


class Grammar(Section):
    """Patterns whose blanks are filled with words in all combinations.

    The blanks ``{color}`` and ``{color2}`` are both filled from the list ``color``, independently
    of each other. The same blank twice gets the same word. Blanks that are separated only by spaces
    describe one *object*; a goal that describes the same object twice is left out.

    Attributes:
        goals: patterns of goals.
        words: the words of each list; each word is in only one list.
        paraphrases: patterns of goals that are used only for evaluation.
        held_out: words and pairs of words that are used only for evaluation.

    Raises:
        pydantic.ValidationError: a blank has no words, or a list no blank; a goal is made twice; or
            a word of a held-out pair is left without another partner in training.

    Example:
        >>> grammar = Grammar(
        ...     goals=["go to the {color} {kind}"],
        ...     words={"color": ["red", "blue"], "kind": ["ball", "key"]},
        ...     held_out={"pairs": [["red", "ball"]]},
        ... )
        >>> grammar.split.training
        ('go to the red key', 'go to the blue ball', 'go to the blue key')
        >>> grammar.split.evaluation
        ('go to the red ball',)
    """

    goals: Annotated[Words, Field(min_length=1)]
    words: dict[str, Annotated[Words, Field(min_length=1)]]
    paraphrases: Words = ()
    held_out: HeldOut = HeldOut()

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Grammar":
        self._check_words()
        self._check_held_out()
        self._check_partners()
        texts = (*self.split.training, *self.split.evaluation)
        if len(set(texts)) < len(texts):
            twice = next(text for text, number in Counter(texts).items() if number > 1)
            raise GoalError(
                f"grammar: {twice!r} is made more than once, expected once. Remove one of the "
                "patterns that make it."
            )
        return self

    @cached_property
    def split(self) -> Split:
        """The texts in the order of patterns and words; the last blank varies fastest."""
        training, held_out = self._parts
        paraphrased = chain.from_iterable(map(self._fill, self.paraphrases))
        return Split(
            tuple(goal.text for goal in training),
            tuple(goal.text for goal in (*held_out, *paraphrased)),
        )

    @cached_property
    def held_out_pairs(self) -> tuple[Pair, ...]:
        """The held-out pairs, given or drawn. A pair is sorted by the names of its words' lists."""
        given = {pair for words in self.held_out.pairs for pair in self._pairs(words)}
        return tuple(sorted(given)) if given else self._draw_pairs()

    def _draw_pairs(self) -> tuple[Pair, ...]:
        """Draw held-out pairs after reserving pairs in which every word keeps a partner."""
        number = self.held_out.num_pairs
        rng = random.Random(self.held_out.seed)
        training_words = {
            name: [word for word in words if word not in self._held_out_words]
            for name, words in self.words.items()
        }
        possible: set[Pair] = set()
        reserved: set[Pair] = set()
        for lists in self._combined_lists:
            possible |= _cross_pairs(training_words[name] for name in lists)
            shuffled = [
                rng.sample(training_words[name], len(training_words[name])) for name in lists
            ]
            longest = max(map(len, shuffled))
            for i in range(longest):
                reserved |= self._pairs(words[i * len(words) // longest] for words in shuffled)
        candidates = sorted(possible - reserved)
        if number > len(candidates):
            raise GoalError(
                f"held_out: num_pairs is {number}, expected 0 to {len(candidates)}, so that every "
                "word stays in training with another partner. Lower it, or add words."
            )
        return tuple(sorted(rng.sample(candidates, number)))

    @cached_property
    def _parts(self) -> tuple[list[_Goal], list[_Goal]]:
        """The training goals, and the goals with a held-out word or pair."""
        pairs = set(self.held_out_pairs)
        training: list[_Goal] = []
        held_out: list[_Goal] = []
        for goal in chain.from_iterable(map(self._fill, self.goals)):
            is_held_out = any(
                self._held_out_words & set(words) or pairs & self._pairs(words)
                for words in goal.objects
            )
            (held_out if is_held_out else training).append(goal)
        return training, held_out

    def _fill(self, pattern: str) -> Iterator[_Goal]:
        """Fill a pattern in all ways that describe no object twice."""
        parts = _BLANK.split(pattern)  # text and blanks alternate
        blanks = tuple(dict.fromkeys(parts[1::2]))
        objects = _objects(pattern)
        for choice in product(*(self.words[_list_of(blank)] for blank in blanks)):
            word = dict(zip(blanks, choice, strict=True))
            described = tuple(tuple(word[blank] for blank in blanks) for blanks in objects)
            if len(set(described)) == len(described):
                filled = (word[part] if i % 2 else part for i, part in enumerate(parts))
                yield _Goal("".join(filled), described)

    @cached_property
    def _list_of_word(self) -> dict[str, str]:
        """The name of each word's list."""
        return {word: name for name, words in self.words.items() for word in words}

    @cached_property
    def _held_out_words(self) -> set[str]:
        return {word for words in self.held_out.words.values() for word in words}

    @cached_property
    def _combined_lists(self) -> list[tuple[str, ...]]:
        """The largest sets of lists whose words describe one object in some pattern."""
        objects = chain.from_iterable(map(_objects, self.goals))
        groups = {frozenset(map(_list_of, blanks)) for blanks in objects}
        largest = (lists for lists in groups if not any(lists < other for other in groups))
        return sorted(tuple(sorted(lists)) for lists in largest)

    def _pairs(self, words: Iterable[str]) -> set[Pair]:
        """Return the pairs of an object's words from different lists, sorted by list name."""
        list_of = self._list_of_word
        ordered = sorted(words, key=lambda word: list_of[word])
        return {(a, b) for a, b in combinations(ordered, 2) if list_of[a] != list_of[b]}

    def _check_words(self) -> None:
        all_words = [word for words in self.words.values() for word in words]
        numbers = Counter(all_words)
        for word in all_words:
            if not word.strip() or set(word) & set("{}"):
                raise GoalError(
                    f"words: got {word!r}, expected a text without braces. Correct or remove it."
                )
            if numbers[word] > 1:
                raise GoalError(
                    f"words: {word!r} is given more than once, expected each word in one list. "
                    "Remove it from the others; {name} and {name2} both use the list `name`."
                )
        patterns = (*self.goals, *self.paraphrases)
        used = {_list_of(blank): pattern for pattern in patterns for blank in _blanks(pattern)}
        for name, pattern in used.items():
            _check_name(name, self.words, f"pattern {pattern!r}, its blank")
        for name in self.words:
            _check_name(name, used, "words without a blank in any pattern")
        for pattern in patterns:
            lists = (self.words[_list_of(blank)] for blank in set(_blanks(pattern)))
            check_number(pattern, math.prod(map(len, lists)))

    def _check_held_out(self) -> None:
        held_out = self.held_out
        for name, words in held_out.words.items():
            _check_name(name, self.words, "held_out.words")
            for word in words:
                _check_name(word, self.words[name], f"held_out.words.{name}")
            if set(words) == set(self.words[name]):
                raise GoalError(
                    f"held_out.words.{name}: got all words of the list, expected at least one left "
                    "for training. Remove one."
                )
        if held_out.pairs and held_out.num_pairs:
            raise GoalError("held_out: got pairs and num_pairs, expected one of them. Remove one.")
        for word in chain.from_iterable(held_out.pairs):
            _check_name(word, self._list_of_word, "held_out.pairs")
        lists = ((self.words[name] for name in names) for names in self._combined_lists)
        possible = set(chain.from_iterable(map(_cross_pairs, lists)))
        for pair in held_out.pairs:
            if not self._pairs(pair) & possible:
                raise GoalError(
                    f"held_out: got the pair {[*pair]}, expected two words that describe one "
                    "object in a goal. Use two lists whose blanks are separated only by spaces in "
                    "a pattern of `goals`."
                )

    def _check_partners(self) -> None:
        training, _ = self._parts
        if not training:
            raise GoalError(
                "grammar: no goal is left for training, expected at least one. Hold out less, or "
                "add words."
            )
        objects = {words for goal in training for words in goal.objects}
        used = {pair for words in objects for pair in self._pairs(words)}
        list_of = self._list_of_word
        partners = {(a, list_of[b]) for pair in used for a, b in (pair, pair[::-1])}
        for pair in self.held_out_pairs:
            for word, partner in (pair, pair[::-1]):
                if (word, list_of[partner]) not in partners:
                    raise GoalError(
                        f"held_out: the pair {[*pair]} leaves no training goal that uses {word!r} "
                        f"with another {list_of[partner]!r}, expected one. Hold out fewer pairs "
                        "with it, draw with another seed, or hold out the word itself."
                    )


def _blanks(pattern: str) -> list[str]:
    return _BLANK.findall(pattern)


def _objects(pattern: str) -> list[tuple[str, ...]]:
    """Return the blanks of each object that a pattern describes."""
    return [*dict.fromkeys(tuple(_blanks(part)) for part in _OBJECT.findall(pattern))]


def _list_of(blank: str) -> str:
    return blank.rstrip("0123456789")


def _cross_pairs(lists: Iterable[Iterable[str]]) -> set[Pair]:
    """Return every pair of words from two different lists."""
    return {pair for first, second in combinations(lists, 2) for pair in product(first, second)}


def _check_name(name: str, expected: Iterable[str], where: str) -> None:
    if name not in expected:
        close = difflib.get_close_matches(name, expected, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Correct or remove it."
        raise GoalError(f"{where}: got {name!r}, expected one of {[*expected]}. {hint}")
