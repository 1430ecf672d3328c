"""What a model reads of a text: its tokens, and the checks that they allow before any weights."""

import re
import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from torch import Tensor

from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import Goal, GoalSet
from rllib_vlm_reward.goals.others import OtherPrompts, PromptGroup

__all__ = ["Tokenizer", "check_distinct", "check_distinct_words", "unknown_words", "words_of"]

_WORD = re.compile(r"\w+")


class Tokenizer:
    """An open_clip tokenizer, and the checks of texts. It is thread-safe.

    Args:
        tokenizer: open_clip's tokenizer.

    Attributes:
        context_length: the number of tokens that the model reads of a text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._lock = tokenizer, threading.Lock()
        self.context_length = self([""]).shape[1]

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokenize N texts: int64 ``[N, context_length]``, by default of the model's length."""
        with self._lock:  # Hugging Face's tokenizers are not thread-safe
            tokens: Tensor = self._tokenizer(list(texts), context_length)
        return tokens

    def ids(self, texts: Sequence[str]) -> list[Hashable]:
        """Return the token ids that the model reads of each text, as bytes."""
        return _rows(self(texts)) if texts else []

    def checked_ids(self, texts: Sequence[str]) -> list[Hashable]:
        """Check that no text is longer than the model reads, and return the :meth:`ids`.

        Raises:
            GoalError: a text has more tokens than ``context_length``.
        """
        twice = self(["", *texts], context_length=2 * self.context_length)
        padding, tokens = twice[0, -1], twice[1:]
        beyond = (tokens[:, self.context_length :] != padding).any(dim=1)
        for row in beyond.nonzero()[:1, 0].tolist():
            length, text = int((tokens[row] != padding).sum()), texts[row]
            excerpt = text if len(text) <= 60 else f"{text[:44]} ..."
            raise GoalError(
                f"text {excerpt!r}: it has {length} tokens, but the model reads only the "
                f"first {self.context_length}. Shorten it, or choose an encoder with a longer "
                "context."
            )
        return _rows(tokens[:, : self.context_length])


def _rows(tokens: Tensor) -> list[Hashable]:
    return [row.tobytes() for row in tokens.cpu().numpy()]


def check_distinct(goals: GoalSet, ids: Sequence[Hashable], encoder: str) -> None:
    """Check that the model can distinguish the statements of each goal.

    A tokenizer may ignore case, repeated spaces and the form of a character. If it makes a goal's
    prompt and one of the goal's negatives equal, the probability can never exceed 1/2.

    Args:
        goals: the goals.
        ids: the tokens that the model reads of each of ``goals.statements``.
        encoder: the name of the encoder, for the error message.

    Raises:
        GoalError: the prompt of a goal has the same tokens as one of the goal's negatives or as its
            baseline, or two negatives of a goal have the same tokens.

    Example:
        >>> goals = GoalSet.from_texts(["a red ball", "a Red ball"])
        >>> check_distinct(goals, [text.lower() for text in goals.statements], "base")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'a red ball': encoder 'base' reads its prompt \
'a red ball' and its negative 'a Red ball' as the same tokens, so it cannot tell them apart: case, \
repeated spaces or the form of a character is not read. Change or remove one of them.
    """
    tokens = dict(zip(goals.statements, ids, strict=True))
    counts = Counter(tokens.values())
    shared = {text for text, read in tokens.items() if counts[read] > 1}
    if not shared:
        return
    distinct: dict[PromptGroup, frozenset[Hashable] | None] = {}
    for goal in goals.goals:
        others = goal.negatives
        if isinstance(others, OtherPrompts):
            # The goals of a group share its statements: N goals with N negatives each.
            group = others.group
            if group not in distinct:
                distinct[group] = _distinct_tokens(group, tokens)
            read = distinct[group]
            if read is not None and _is_distinct(goal, others, read, tokens):
                continue
        _check_goal(goal, tokens, shared, encoder)


def check_distinct_words(texts: Sequence[str], ids: Sequence[Hashable], encoder: str) -> None:
    """Check that the model can distinguish the nouns of a bonus, and what they are compared with.

    Args:
        texts: the texts, which are distinct.
        ids: the tokens that the model reads of each text.
        encoder: the name of the encoder, for the error message.

    Raises:
        GoalError: two texts have the same tokens.

    Example:
        >>> check_distinct_words(["a ball", "A ball"], [b"1", b"1"], "base")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: bonus: encoder 'base' reads 'a ball' and 'A ball' as \
the same tokens, so each would have at most half of the probability: case, repeated spaces or the \
form of a character is not read. Write the same noun, or remove one of them from `nothing`.
    """
    seen: dict[Hashable, str] = {}
    for text, read in zip(texts, ids, strict=True):
        if read in seen:
            raise GoalError(
                f"bonus: encoder {encoder!r} reads {seen[read]!r} and {text!r} as the same tokens, "
                "so each would have at most half of the probability: case, repeated spaces or the "
                "form of a character is not read. Write the same noun, or remove one of them from "
                "`nothing`."
            )
        seen[read] = text


def _distinct_tokens(group: PromptGroup, tokens: dict[str, Hashable]) -> frozenset[Hashable] | None:
    """Return the tokens of a group's statements; None if two statements have the same tokens."""
    texts = (*group.prompts, *group.fixed)
    read = frozenset(tokens[text] for text in texts)
    return read if len(read) == len(texts) else None


def _is_distinct(
    goal: Goal, others: OtherPrompts, read: frozenset[Hashable], tokens: dict[str, Hashable]
) -> bool:
    """Return whether a goal has distinct statements, if those of its group are distinct."""
    if goal.baseline is not None and tokens[goal.baseline] == tokens[goal.prompt]:
        return False
    return goal.prompt == others.prompt and (
        goal.prompt in others.group.positions or tokens[goal.prompt] not in read
    )


def _check_goal(goal: Goal, tokens: dict[str, Hashable], shared: set[str], encoder: str) -> None:
    seen: dict[Hashable, str] = {}
    statements = [("prompt", goal.prompt), *(("negative", text) for text in goal.negatives)]
    pairs: list[tuple[str, str]] = []
    for kind, text in statements:
        if text not in shared:
            continue
        if tokens[text] in seen:
            pairs.append((seen[tokens[text]], f"its {kind} {text!r}"))
        seen.setdefault(tokens[text], f"its {kind} {text!r}")
    if goal.baseline is not None and tokens[goal.baseline] == tokens[goal.prompt]:
        pairs.append((f"its prompt {goal.prompt!r}", f"its baseline {goal.baseline!r}"))
    if pairs:
        first, second = pairs[0]
        raise GoalError(
            f"goal {goal.text!r}: encoder {encoder!r} reads {first} and {second} as the same "
            "tokens, so it cannot tell them apart: case, repeated spaces or the form of a "
            "character is not read. Change or remove one of them."
        )


def unknown_words(texts: Sequence[str], vocabulary: Sequence[str]) -> list[str]:
    """Return the words of some texts that are not in a vocabulary, in lower case, sorted.

    Example:
        >>> unknown_words(["Move the square", "the square"], ["the"])
        ['move', 'square']
    """
    return sorted({*words_of(texts)} - {*vocabulary})


def words_of(texts: Iterable[str]) -> list[str]:
    """Return the distinct words of some texts in lower case, sorted."""
    return sorted({word for text in texts for word in _WORD.findall(text.lower())})
