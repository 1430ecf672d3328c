"""Embeddings kept by what they are of, so that nothing is encoded twice."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from torch import Tensor

from rllib_vlm_reward.frames import Frames

__all__ = ["EmbeddingCache", "content_keys"]


class EmbeddingCache:
    """The embeddings of the keys used last; thread-safe.

    They lie in one array of the main memory, ``4 · capacity · D`` bytes once it is full: 4 MB for
    16,384 embeddings of 64, 34 MB for as many of 512, and some 4 MB of keys. Not on the device,
    where a thread could read a row before another thread's stream has written it.

    Args:
        capacity: embeddings kept at most, 1 or more; the one unused for longest goes first.
        dim: D, the length of an embedding.

    Example:
        >>> cache = EmbeddingCache(capacity=100, dim=2)
        >>> cache.embed(["a", "b", "a"], lambda positions: torch.eye(2)[positions]).tolist()
        [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
        >>> cache.embed(["b"], lambda positions: 1 / 0).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, capacity: int, dim: int) -> None:
        self._capacity = capacity
        self._table = np.empty((capacity, dim), np.float32)
        self._rows: OrderedDict[Hashable, int] = OrderedDict()
        self._in_use = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def embed(self, keys: Sequence[Hashable], encode: Callable[[list[int]], Tensor]) -> Tensor:
        """Return the embeddings of keys, of which only those not known are encoded.

        Two threads that meet the same new key at once may both encode it.

        Args:
            keys: B of them; equal keys stand for equal content.
            encode: positions among the keys, ascending, each distinct new key's first, to
                float32 ``[M, D]`` on any device. Not called where all are known.

        Returns:
            float32 ``[B, D]``, on the device of what was encoded; where nothing was, on the CPU.
        """
        firsts: dict[Hashable, int] = {}
        for position, key in enumerate(keys):
            firsts.setdefault(key, position)
        known, found = self._get(firsts)
        missing = [key for key in firsts if key not in known] if known else list(firsts)
        if not missing:
            return found[torch.tensor([known[key] for key in keys], dtype=torch.int64)]
        new = encode([firsts[key] for key in missing])
        self.put(missing, new.cpu().numpy())
        if len(missing) == len(keys):
            return new
        order = known | {key: len(known) + i for i, key in enumerate(missing)}
        return torch.cat([found.to(new.device), new])[[order[key] for key in keys]]

    def put(self, keys: Sequence[Hashable], embeddings: npt.NDArray[np.float32]) -> None:
        """Keep embeddings, float32 ``[M, D]``, of M distinct keys; of too many, the last ones."""
        kept = keys[-self._capacity :]
        with self._in_use:
            self._table[[self._row(key) for key in kept]] = embeddings[-self._capacity :]

    def _get(self, keys: dict[Hashable, int]) -> tuple[dict[Hashable, int], Tensor]:
        """Return which keys are known, by their index in the embeddings ``[known, D]``."""
        with self._in_use:
            rows = {key: self._rows[key] for key in keys if key in self._rows}
            for key in rows:
                self._rows.move_to_end(key)
            found = self._table[list(rows.values())]  # a copy: the rows may be reused
        return {key: index for index, key in enumerate(rows)}, torch.from_numpy(found)

    def _row(self, key: Hashable) -> int:
        row = self._rows.pop(key, None)
        if row is None:
            full = len(self._rows) == self._capacity
            row = self._rows.popitem(last=False)[1] if full else len(self._rows)
        self._rows[key] = row
        return row


def content_keys(pieces: Sequence[Frames], tower: str) -> list[Hashable]:
    """Return a key for each frame: equal where bytes, shape and the tower's name are.

    The bytes count as XXH3's 128 bits, so two frames that differ share a key with a chance of
    2⁻¹²⁸.

    Example:
        >>> frames = np.zeros((3, 8, 6, 3), np.uint8)
        >>> frames[1] = 1
        >>> [first, other, again] = content_keys([frames], "fp32")
        >>> first == again, first == other
        (True, False)
    """
    prefix = f"{tower} {pieces[0].shape[1:]} ".encode()
    digest = xxhash.xxh3_128_digest
    contiguous = (np.ascontiguousarray(piece) for piece in pieces)
    return [prefix + digest(frame) for piece in contiguous for frame in piece]
