"""Goals from a grammar: patterns with blanks, and what of them training never shows."""

import difflib
import random
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, combinations, product
from typing import Annotated, NamedTuple

import pydantic
from pydantic import Field

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.settings import Section

__all__ = ["Grammar", "HeldOut", "Split"]

_BLANK = re.compile(r"\{([^{}]*)\}")
_THING = re.compile(r"\{[^{}]*\}(?: +\{[^{}]*\})*")

Words = tuple[str, ...]
Pair = tuple[str, str]


class Split(NamedTuple):
    """A grammar's texts.

    Attributes:
        training: the goals without any held-out word or pair.
        evaluation: the goals with one, then all paraphrases.
    """

    training: Words
    evaluation: Words


class HeldOut(Section):
    """What no goal of training says.

    Attributes:
        words: by the name of their list, words that are in no goal of training.
        pairs: pairs of words that training never says of one thing; each of the two words stays
            in training with another partner.
        num_pairs: how many such pairs to draw, in place of ``pairs``.
        seed: seed for drawing these pairs.
    """

    words: dict[str, Words] = Field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    num_pairs: Annotated[int, Field(ge=0)] = 0
    seed: int = 0


class _Goal(NamedTuple):
    text: str
    things: tuple[Words, ...]


class Grammar(Section):
    """Patterns whose blanks are filled with words, in every way.

    A blank ``{color}`` draws from the words ``color``, and so does ``{color2}``, independently; the
    same blank twice is the same word. Blanks with only spaces between them name one *thing*; a goal
    that names one thing twice is left out.

    Attributes:
        goals: patterns of goals.
        words: the words of each list; a word is in one list.
        paraphrases: patterns of goals that only evaluation has.
        held_out: what else only evaluation has.

    Raises:
        pydantic.ValidationError: a blank without words or words without a blank, a goal that is
            made twice, or more held out than leaves each word of a pair another partner.

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
            twice = next(text for text in texts if texts.count(text) > 1)
            raise GoalError(
                f"grammar: {twice!r} is made more than once, expected once. Leave out one of the "
                "patterns that make it."
            )
        return self

    @cached_property
    def split(self) -> Split:
        """The texts, in the order of patterns and words, the last blank varying fastest."""
        training, held = self._parts
        paraphrased = chain.from_iterable(map(self._fill, self.paraphrases))
        return Split(
            tuple(goal.text for goal in training),
            tuple(goal.text for goal in (*held, *paraphrased)),
        )

    @cached_property
    def held_out_pairs(self) -> tuple[Pair, ...]:
        """The pairs that are held out, given or drawn; the lists' names order a pair's words."""
        given = {pair for words in self.held_out.pairs for pair in self._pairs(words)}
        return tuple(sorted(given)) if given else self._draw_pairs()

    def _draw_pairs(self) -> tuple[Pair, ...]:
        """Draw from the pairs that remain when every word has been promised a partner."""
        wanted = self.held_out.num_pairs
        rng = random.Random(self.held_out.seed)
        seen = {
            name: [word for word in words if word not in self._unseen]
            for name, words in self.words.items()
        }
        free: set[Pair] = set()
        promised: set[Pair] = set()
        for lists in self._meetings:
            free |= _across(seen[name] for name in lists)
            shuffled = [rng.sample(seen[name], len(seen[name])) for name in lists]
            longest = max(map(len, shuffled))
            for i in range(longest):
                promised |= self._pairs(words[i * len(words) // longest] for words in shuffled)
        candidates = sorted(free - promised)
        if wanted > len(candidates):
            raise GoalError(
                f"held_out: num_pairs is {wanted}, expected 0 to {len(candidates)}, so that every "
                "word stays in training with another partner. Lower it, or give more words."
            )
        return tuple(sorted(rng.sample(candidates, wanted)))

    @cached_property
    def _parts(self) -> tuple[list[_Goal], list[_Goal]]:
        """The goals of training, and those with a held-out word or pair."""
        pairs = set(self.held_out_pairs)
        training: list[_Goal] = []
        held: list[_Goal] = []
        for goal in chain.from_iterable(map(self._fill, self.goals)):
            new = (self._unseen & set(thing) or pairs & self._pairs(thing) for thing in goal.things)
            (held if any(new) else training).append(goal)
        return training, held

    def _fill(self, pattern: str) -> Iterator[_Goal]:
        """Fill a pattern in every way that names no thing twice."""
        parts = _BLANK.split(pattern)  # every other one is a blank
        blanks = tuple(dict.fromkeys(parts[1::2]))
        things = _things(pattern)
        for choice in product(*(self.words[_list_of(blank)] for blank in blanks)):
            word = dict(zip(blanks, choice, strict=True))
            named = tuple(tuple(word[blank] for blank in thing) for thing in things)
            if len(set(named)) == len(named):
                said = (word[part] if i % 2 else part for i, part in enumerate(parts))
                yield _Goal("".join(said), named)

    @cached_property
    def _home(self) -> dict[str, str]:
        """The list of each word."""
        return {word: name for name, words in self.words.items() for word in words}

    @cached_property
    def _unseen(self) -> set[str]:
        return {word for words in self.held_out.words.values() for word in words}

    @cached_property
    def _meetings(self) -> list[tuple[str, ...]]:
        """The lists that meet in a thing, but for those that meet in a greater one too."""
        things = chain.from_iterable(map(_things, self.goals))
        meetings = {frozenset(map(_list_of, thing)) for thing in things}
        greatest = (one for one in meetings if not any(one < other for other in meetings))
        return sorted(tuple(sorted(one)) for one in greatest)

    def _pairs(self, thing: Iterable[str]) -> set[Pair]:
        """The pairs of a thing's words, of two lists each, in the order of the lists' names."""
        ordered = sorted(thing, key=lambda word: self._home[word])
        return {(a, b) for a, b in combinations(ordered, 2) if self._home[a] != self._home[b]}

    def _check_words(self) -> None:
        every = [word for words in self.words.values() for word in words]
        for word in every:
            if not word.strip() or set(word) & set("{}"):
                raise GoalError(f"words: got {word!r}, expected a text without braces.")
            if every.count(word) > 1:
                raise GoalError(
                    f"words: {word!r} is given more than once, expected each word in one list. "
                    "{name} and {name2} both draw from the list `name`."
                )
        patterns = (*self.goals, *self.paraphrases)
        used = {_list_of(blank): pattern for pattern in patterns for blank in _blanks(pattern)}
        for name, pattern in used.items():
            _know(name, self.words, f"pattern {pattern!r}, its blank")
        for name in self.words:
            _know(name, used, "words without a blank in any pattern")

    def _check_held_out(self) -> None:
        held = self.held_out
        for name, words in held.words.items():
            _know(name, self.words, "held_out.words")
            for word in words:
                _know(word, self.words[name], f"held_out.words.{name}")
            if set(words) == set(self.words[name]):
                raise GoalError(
                    f"held_out.words.{name}: got all, expected one left for training. Remove one."
                )
        if held.pairs and held.num_pairs:
            raise GoalError("held_out: got pairs and num_pairs, expected one of them. Remove one.")
        for word in chain.from_iterable(held.pairs):
            _know(word, self._home, "held_out.pairs")
        lists = ((self.words[name] for name in meeting) for meeting in self._meetings)
        possible = set(chain.from_iterable(map(_across, lists)))
        for pair in held.pairs:
            if not self._pairs(pair) & possible:
                raise GoalError(
                    f"held_out: got the pair {[*pair]}, expected two words that a goal says of one "
                    "thing: of two lists whose blanks stand side by side in a pattern of `goals`."
                )

    def _check_partners(self) -> None:
        training, _ = self._parts
        if not training:
            raise GoalError(
                "grammar: no goal is left for training, expected one. Hold out less, or give more "
                "words."
            )
        things = {thing for goal in training for thing in goal.things}
        said = {pair for thing in things for pair in self._pairs(thing)}
        met = {(a, self._home[b]) for pair in said for a, b in (pair, pair[::-1])}
        for pair in self.held_out_pairs:
            for word, partner in (pair, pair[::-1]):
                if (word, self._home[partner]) not in met:
                    raise GoalError(
                        f"held_out: the pair {[*pair]} leaves no goal of training that says "
                        f"{word!r} with another {self._home[partner]!r}, expected one. Hold out "
                        "fewer pairs of it, draw with another seed, or hold out the word itself."
                    )


def _blanks(pattern: str) -> list[str]:
    return _BLANK.findall(pattern)


def _things(pattern: str) -> list[tuple[str, ...]]:
    """Return the blanks of each thing that a pattern names."""
    return [*dict.fromkeys(tuple(_blanks(thing)) for thing in _THING.findall(pattern))]


def _list_of(blank: str) -> str:
    return blank.rstrip("0123456789")


def _across(lists: Iterable[Iterable[str]]) -> set[Pair]:
    """Return every pair of words of two lists."""
    return {pair for one, other in combinations(lists, 2) for pair in product(one, other)}


def _know(name: str, known: Iterable[str], where: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "Correct it, or leave it out."
        raise GoalError(f"{where}: got {name!r}, expected one of {[*known]}. {hint}")
