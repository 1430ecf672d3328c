"""The base class of heads: a frozen dataclass that scores frames and describes its scores."""

import dataclasses
import functools
import hashlib
import typing
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.settings import check_number, import_path_of

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Head", "digest_of", "field_types"]

_PAIRS_AT_ONCE = 16_384  # of a frame and a goal


def field_types(head_class: Any) -> dict[str, Any]:
    """Return the type hints of a head's fields; none if one of them cannot be evaluated."""
    return _type_hints(head_class)


@functools.cache  # some heads make others at each call
def _type_hints(head_class: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(head_class)
    except NameError:  # a type that is imported for type checkers only
        return {}


@dataclasses.dataclass(frozen=True)
class Head:
    """Computes the scores of frames from their embeddings and goals.

    To write a head of your own, derive a frozen dataclass from this class. Override
    :meth:`__call__`, and those attributes below whose defaults do not fit. The fields of the
    dataclass are its settings, in YAML ``head: {kind: package.module.Class, field: value}``, and
    are checked by their types. Use ``@dataclass(frozen=True, eq=False)`` if a field is an array.
    A ``__post_init__`` of your own calls ``super().__post_init__()``, which refuses a boolean or a
    text in place of a number.

    A module with a head must not import torch at its top; import torch in :meth:`__call__`.

    Attributes:
        reads: the first argument of :meth:`__call__`: the frames' ``embeddings``.
        range: lowest and highest score, for any goal.
        is_probability: whether a score is the probability of success.
        may_be_constant: whether equal scores for many different frames are normal, not an error.
        needs_negatives: whether each goal must have negatives.
        needs_baseline: whether each goal must have a baseline.
        has_temperature: whether the head has a field ``temperature``, the τ of a softmax over the
            goal and its negatives. ``calibrate`` can choose it; None takes the model's.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Half(Head):
        ...     def __call__(self, images, bank, goals):
        ...         return (1 + (images * bank.goal(goals)).sum(dim=1)) / 2
        >>> Half().digest() == Half().digest(), Half.range
        (True, (0.0, 1.0))
    """

    reads: ClassVar[Literal["embeddings"]] = "embeddings"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    is_probability: ClassVar[bool] = False
    may_be_constant: ClassVar[bool] = False
    needs_negatives: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    has_temperature: ClassVar[bool] = False

    # For pydantic's TypeAdapter, which checks the settings.
    __pydantic_config__: ClassVar[Any] = {"arbitrary_types_allowed": True, "extra": "forbid"}

    def __post_init__(self) -> None:
        hints = field_types(type(self))
        for field in dataclasses.fields(self):
            try:
                check_number(hints.get(field.name), getattr(self, field.name))
            except ValueError as error:
                raise RewardError(f"head {type(self).__name__}: {field.name}: {error}") from error

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return the scores of B frames. A score must not depend on the other frames.

        Args:
            images: float32 ``[B, D]``, unit norm: the frames' embeddings.
            bank: the text embeddings of the goals.
            goals: int64 ``[B]``, the index of each frame's goal in the bank.

        Returns:
            The scores, float32 ``[B]``, within :attr:`range`.
        """
        raise NotImplementedError(f"{type(self).__name__} must override __call__.")

    def each(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return the scores of B frames for each of G goals, float32 ``[B, G]``.

        They equal those of :meth:`__call__`. Override it if there is a faster way than one by one.

        Args:
            images: float32 ``[B, D]``, unit norm: the frames' embeddings.
            bank: the text embeddings of the goals.
            goals: int64 ``[G]``, distinct indices of goals in the bank.
        """
        import torch

        at_once = max(1, _PAIRS_AT_ONCE // max(1, len(images)))
        parts = []
        for some in torch.split(goals, at_once):
            frames = images.repeat_interleave(len(some), dim=0)
            scores = self(frames, bank, some.repeat(len(images)))
            parts.append(scores.view(len(images), len(some)))
        return torch.cat(parts, dim=1)

    def range_among(self, statements: int) -> tuple[float, float]:
        """Return the lowest and highest score for a goal, by default :attr:`range`.

        Override it if the range depends on how many statements are compared. It lies within
        :attr:`range`.

        Args:
            statements: 1 + the number of the goal's negatives.

        Example:
            >>> from rllib_vlm_reward.reward_model.heads import Cosine, Dense
            >>> Cosine().range_among(4), Dense().range_among(4)
            ((-1.0, 1.0), (0.0, 0.75))
        """
        return self.range

    def digest(self) -> str:
        """Return the SHA-256 of the class and its fields' contents, as a hexadecimal text.

        Two heads with equal digests give the same scores, in every process. Arrays and tensors are
        hashed by type, shape and bytes. Numbers are hashed by value, so 1 equals 1.0.

        Raises:
            RewardError: a field holds neither plain data nor an array.
        """
        return digest_of(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())


def digest_of(settings: Any) -> str:
    """Return the SHA-256 of a frozen dataclass: see :meth:`Head.digest`.

    Raises:
        RewardError: a field holds neither plain data nor an array.
    """
    content = hashlib.sha256(import_path_of(type(settings)).encode())
    for field in dataclasses.fields(settings):
        content.update(f"\n{field.name}=".encode())
        _add(content, getattr(settings, field.name), f"{type(settings).__name__}.{field.name}")
    return content.hexdigest()


def _add(content: Any, value: Any, where: str) -> None:
    """Add a value to a hash. Different values add different bytes."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is int and abs(value) < 2**53:
        value = float(value)
    if hasattr(value, "__array__"):
        array = np.ascontiguousarray(value)
        if array.dtype != object:
            content.update(f"array {array.dtype.str} {list(array.shape)} ".encode())
            content.update(array.tobytes())
            return
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        content.update(f"{type(value).__name__} {value!r};".encode())
        return
    elif isinstance(value, list | tuple):
        content.update(f"sequence {len(value)} ".encode())
        for item in value:
            _add(content, item, where)
        return
    elif isinstance(value, dict):
        content.update(f"mapping {len(value)} ".encode())
        for key in sorted(value, key=repr):
            _add(content, key, where)
            _add(content, value[key], where)
        return
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        content.update(import_path_of(type(value)).encode())
        for field in dataclasses.fields(value):
            _add(content, getattr(value, field.name), f"{where}.{field.name}")
        return
    raise RewardError(
        f"head: {where} has the type {type(value).__name__}, whose content cannot be compared. "
        "Expected numbers, texts, arrays, or lists and mappings of these."
    )
