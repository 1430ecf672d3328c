"""The proposer that composes the words of the goals anew."""

import itertools
import math
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rllib_vlm_reward.curriculum.curriculum_config import ProposeConfig
from rllib_vlm_reward.curriculum.proposer import Proposer
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.goals import GoalSet, Template

__all__ = ["Compositions"]

_MOST_TRIED = 100_000  # of the compositions of a template, at one time

Words = tuple[tuple[str, ...], ...]  # for each place of a phrase, the words that may stand there


class Compositions(Proposer):
    """Proposes goals that use the words of the training goals in another combination.

    What fills the blank of a template is a phrase. Phrases of the same number of words, in whatever
    template, form a table of the words at each place; a new phrase takes one word of each place,
    and fills a blank that has had a phrase of this length. So "go to the red ball" and "pick up the
    blue key" also give "go to the blue key", "go to the red key" and so on. No goal names a phrase
    twice, and a phrase that only held-out goals have is not used. The order is random, but the
    templates take turns: there are more goals with two things than with one.

    Args:
        goals: see :class:`.Proposer`.
        config: see :class:`.Proposer`.
        templates: see :class:`.Proposer`.
        held_out: see :class:`.Proposer`.

    Raises:
        ConfigError: there is no composition that the goals lack.

    Example:
        >>> lift = Template("lift the {}", "the {} is held")
        >>> goals = GoalSet.from_texts(["lift the red ball", "lift the blue key"], templates=[lift])
        >>> composing = Compositions(goals, ProposeConfig(), [lift], ["lift the red key"])
        >>> [*composing.propose({"goals": dict.fromkeys(goals.texts), "refused": {}})]
        ['lift the blue ball']
    """

    def __init__(
        self,
        goals: GoalSet,
        config: ProposeConfig,
        templates: Sequence[Template],
        held_out: Sequence[str],
    ) -> None:
        super().__init__(goals, config, templates, held_out)
        used = self._phrases(goals.texts)
        table: dict[int, list[dict[str, None]]] = {}
        known: set[str] = set()
        for phrase in itertools.chain(*itertools.chain(*used.values())):
            words = phrase.split(" ")
            places = table.setdefault(len(words), [{} for _ in words])
            for place, word in zip(places, words, strict=True):
                place[word] = None
            known.add(phrase)
        held = itertools.chain(*itertools.chain(*self._phrases(held_out).values()))
        self._held_out_phrases = {*held} - known
        words_by_length = {length: tuple(map(tuple, row)) for length, row in table.items()}
        self._patterns = [
            _Pattern(
                template, [_Blank(column, words_by_length) for column in zip(*rows, strict=True)]
            )
            for template, rows in used.items()
        ]
        if next(self._new({*goals.texts}), None) is None:
            raise ConfigError(
                f"curriculum.propose: got kind 'grammar', but each composition of the words of the "
                f"{len(goals)} goals ({goals.excerpt}) is one of them or held out, so there is "
                "nothing to propose. Begin with fewer goals, set the kind to a proposer of your "
                "own, or remove curriculum.propose."
            )

    def propose(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Return compositions that were neither admitted nor refused, in a random order."""
        taken = {*record["goals"], *record["refused"]}
        return itertools.islice(self._new(taken), 2 * self.config.at_once)

    def _phrases(self, texts: Sequence[str]) -> dict[Template, list[tuple[str, ...]]]:
        """Return the phrases of each text, by the template that reads it."""
        found: dict[Template, list[tuple[str, ...]]] = {}
        for text in texts:
            for template in self.templates:
                phrases = template.blanks_of(text)
                if phrases is not None:
                    found.setdefault(template, []).append(phrases)
                    break
        return found

    def _new(self, taken: Collection[str]) -> Iterator[str]:
        """Yield compositions that are not taken, of one template after another in turn."""
        passed = {*taken, *self.held_out}
        rng = random.Random(f"{self.config.seed} {len(taken)}")
        left = [self._of(pattern, passed, rng) for pattern in self._patterns]
        while left:
            for texts in [*left]:
                text = next(texts, None)
                if text is None:
                    left.remove(texts)
                else:
                    yield text

    def _of(self, pattern: "_Pattern", passed: set[str], rng: random.Random) -> Iterator[str]:
        """Yield compositions of a template that have not passed, in a random order."""
        numbers: Iterable[int] = (rng.randrange(pattern.size) for _ in range(_MOST_TRIED))
        if pattern.size <= _MOST_TRIED:
            numbers = rng.sample(range(pattern.size), pattern.size)
        for number in numbers:
            phrases = pattern.phrases(number)
            text = pattern.fill(phrases)
            if text in passed or len({*phrases}) < len(phrases):
                continue
            if self._held_out_phrases.isdisjoint(phrases) and self._reads(text, pattern.template):
                passed.add(text)
                yield text

    def _reads(self, text: str, template: Template) -> bool:
        """Return whether this is the first template that reads the text."""
        first = next(each for each in self.templates if each.blanks_of(text) is not None)
        return first == template


class _Blank:
    """The phrases that may fill a blank, by a number."""

    def __init__(self, phrases: Sequence[str], words_by_length: Mapping[int, Words]) -> None:
        lengths = sorted({len(phrase.split(" ")) for phrase in phrases})
        self._words = [words_by_length[length] for length in lengths]
        self._sizes = [math.prod(map(len, words)) for words in self._words]
        self.size = sum(self._sizes)

    def __getitem__(self, number: int) -> str:
        chosen, which = [], 0
        while number >= self._sizes[which]:
            number -= self._sizes[which]
            which += 1
        for place in self._words[which]:
            number, which = divmod(number, len(place))
            chosen.append(place[which])
        return " ".join(chosen)


class _Pattern:
    """The goals of a template, by a number."""

    def __init__(self, template: Template, blanks: Sequence[_Blank]) -> None:
        self.template, self._blanks = template, blanks
        self.size = math.prod(blank.size for blank in blanks)

    def phrases(self, number: int) -> tuple[str, ...]:
        chosen = []
        for blank in self._blanks:
            number, which = divmod(number, blank.size)
            chosen.append(blank[which])
        return tuple(chosen)

    def fill(self, phrases: Sequence[str]) -> str:
        parts = self.template.goal.split("{}")
        return "".join(itertools.chain(*itertools.zip_longest(parts, phrases, fillvalue="")))
