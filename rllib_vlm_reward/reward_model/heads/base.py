"""What every head is: a frozen dataclass that scores frames and says what its scores are."""

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.settings import import_path_of

if TYPE_CHECKING:
    from torch import Tensor

    from rllib_vlm_reward.reward_model.bank import TextBank

__all__ = ["Head"]


@dataclasses.dataclass(frozen=True)
class Head:
    """Turns what was seen into scores, given each frame's goal and what it is weighed against.

    A head of your own is a frozen dataclass that derives from this class and overrides
    :meth:`__call__`, and the traits below where they differ. The fields are the settings:
    ``head: {kind: package.module.Class, field: value}`` in YAML, checked by their types. Write
    ``@dataclass(frozen=True, eq=False)`` where a field is an array.

    Importing a head imports no torch; calling it does.

    Attributes:
        reads: what :meth:`__call__` gets first: ``embeddings`` of the frames.
        range: lowest and highest score.
        is_probability: whether a score is the probability of success.
        may_be_constant: whether one score for many different frames is normal, not an error.
        needs_negatives: whether each goal must have negatives.
        needs_baseline: whether each goal must have a baseline.
        has_temperature: whether there is a field ``temperature``, τ of a softmax over the goal and
            its negatives, which ``calibrate`` can choose; None takes the model's own.

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

    def __call__(self, images: "Tensor", bank: "TextBank", goals: "Tensor") -> "Tensor":
        """Return the scores of B frames, each independent of the others in the batch.

        Args:
            images: float32 ``[B, D]``, unit norm: the frames' embeddings.
            bank: the goals' text embeddings.
            goals: int64 ``[B]``, each frame's goal in the bank.

        Returns:
            float32 ``[B]``, within :attr:`range`.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides __call__.")

    def digest(self) -> str:
        """Return the SHA-256, in hex, of the class and of what the fields hold.

        Arrays and tensors count by type, shape and bytes, and numbers by their value: 1 is 1.0,
        which YAML makes of it for a float. Two heads of one digest give the same scores, in every
        process.

        Raises:
            RewardError: a field that is neither plain data nor an array.
        """
        content = hashlib.sha256(import_path_of(type(self)).encode())
        for field in dataclasses.fields(self):
            content.update(f"\n{field.name}=".encode())
            _add(content, getattr(self, field.name), f"{type(self).__name__}.{field.name}")
        return content.hexdigest()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())


def _add(content: Any, value: Any, where: str) -> None:
    """Add a value to a hash, so that different values add different bytes."""
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
        for each in value:
            _add(content, each, where)
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
        f"head: {where} is of the type {type(value).__name__}, whose content cannot be told from "
        "another's, expected numbers, texts, arrays, or lists and mappings of these."
    )
