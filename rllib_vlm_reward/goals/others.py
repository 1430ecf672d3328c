"""The negatives of a goal that are all other prompts of its template, without a copy of them."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

__all__ = ["OtherPrompts", "PromptGroup", "digest"]

_MODULUS = 2**256


class PromptGroup:
    """The prompts of a template, which its goals share, and the statements added to each goal's.

    Args:
        prompts: distinct prompts.
        fixed: the added statements; prompts among them are left out of ``prompts``.
    """

    def __init__(self, prompts: Sequence[str], fixed: Sequence[str]) -> None:
        added = set(fixed)
        self.prompts = tuple(prompt for prompt in prompts if prompt not in added)
        self.fixed = tuple(fixed)
        self.positions = {prompt: position for position, prompt in enumerate(self.prompts)}

    @cached_property
    def digest(self) -> int:
        """The digest of all prompts and added statements."""
        return digest((*self.prompts, *self.fixed))


class OtherPrompts(Sequence[str]):
    """All prompts of a group except one, then the added statements; equal to a tuple of them.

    N goals whose negatives are the other goals would need N² entries as tuples.

    Args:
        group: the group.
        prompt: the prompt that is left out.

    Example:
        >>> others = OtherPrompts(PromptGroup(["a ball", "a key", "a box"], ["nothing"]), "a key")
        >>> others == ("a ball", "a box", "nothing"), "a key" in others, len(others)
        (True, False, 3)
    """

    __slots__ = ("_position", "group", "prompt")

    def __init__(self, group: PromptGroup, prompt: str) -> None:
        self.group, self.prompt = group, prompt
        self._position = group.positions.get(prompt, len(group.prompts))

    @property
    def digest(self) -> int:
        """The digest of the statements, see :func:`digest`."""
        left_out = digest([self.prompt]) if self.prompt in self.group.positions else 0
        return (self.group.digest - left_out) % _MODULUS

    def __len__(self) -> int:
        left_out = self.prompt in self.group.positions
        return len(self.group.prompts) - left_out + len(self.group.fixed)

    def __iter__(self) -> Iterator[str]:
        prompts = self.group.prompts
        yield from prompts[: self._position]
        yield from prompts[self._position + 1 :]
        yield from self.group.fixed

    def __contains__(self, text: object) -> bool:
        among_prompts = text in self.group.positions and text != self.prompt
        return among_prompts or text in self.group.fixed

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, OtherPrompts) and other.group is self.group:
            return other.prompt == self.prompt
        return isinstance(other, tuple | OtherPrompts) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def digest(statements: Sequence[str]) -> int:
    """Return a number that depends on the statements and not on their order.

    It is the sum of their SHA-256, so that the digest of all but one takes a single subtraction.
    """
    if isinstance(statements, OtherPrompts):
        return statements.digest
    hashes = (hashlib.sha256(statement.encode()).digest() for statement in statements)
    return sum(int.from_bytes(each, "little") for each in hashes) % _MODULUS
