"""Embeddings kept by what they are of, so that nothing is encoded twice."""

import concurrent.futures
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future

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
        self._coming: dict[Hashable, Future[None]] = {}
        self._in_use = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def embed(self, keys: Sequence[Hashable], encode: Callable[[list[int]], Tensor]) -> Tensor:
        """Return the embeddings of keys, of which only those not known are encoded.

        A key that another thread is encoding is waited for.

        Args:
            keys: B of them; equal keys stand for equal content.
            encode: positions among the keys, ascending, each distinct new key's first, to
                float32 ``[M, D]`` on any device. Not called where all are known; twice where
                another thread failed to encode what it had begun.

        Returns:
            float32 ``[B, D]``, on the device of what was encoded; where nothing was, on the CPU.
        """
        firsts: dict[Hashable, int] = {}
        for position, key in enumerate(keys):
            firsts.setdefault(key, position)
        known, found, missing, coming = self._claim(firsts)
        parts = [found]
        if missing:
            parts.append(self._encode(missing, [firsts[key] for key in missing], encode))
        if coming:
            # Only now, or two threads might wait for each other.
            concurrent.futures.wait(coming.values())
            theirs = [firsts[key] for key in coming]
            parts.append(self.embed(list(coming), lambda p: encode([theirs[i] for i in p])))
        if len(missing) == len(keys):
            return parts[-1]
        order = {key: row for row, key in enumerate([*known, *missing, *coming])}
        device = parts[1].device if missing else parts[-1].device
        return torch.cat([part.to(device) for part in parts])[[order[key] for key in keys]]

    def put(self, keys: Sequence[Hashable], embeddings: npt.NDArray[np.float32]) -> None:
        """Keep embeddings, float32 ``[M, D]``, of M distinct keys; of too many, the last ones."""
        kept = keys[-self._capacity :]
        with self._in_use:
            self._table[[self._row(key) for key in kept]] = embeddings[-self._capacity :]

    def _claim(
        self, keys: Iterable[Hashable]
    ) -> tuple[list[Hashable], Tensor, list[Hashable], dict[Hashable, Future[None]]]:
        """Tell keys apart: known, with their embeddings ``[known, D]``; missing; and coming.

        The missing ones are this thread's to encode, and are coming for the others.
        """
        known, missing, coming = [], [], {}
        with self._in_use:
            for key in keys:
                if key in self._rows:
                    known.append(key)
                    self._rows.move_to_end(key)
                elif key in self._coming:
                    coming[key] = self._coming[key]
                else:
                    missing.append(key)
            self._coming |= dict.fromkeys(missing, Future())
            found = self._table[[self._rows[key] for key in known]]  # a copy: rows are reused
        return known, torch.from_numpy(found), missing, coming

    def _encode(
        self,
        keys: Sequence[Hashable],
        positions: list[int],
        encode: Callable[[list[int]], Tensor],
    ) -> Tensor:
        try:
            new = encode(positions)
            self.put(keys, new.cpu().numpy())
        finally:
            with self._in_use:
                done = [self._coming.pop(key) for key in keys]
            done[0].set_result(None)
        return new

    def _row(self, key: Hashable) -> int:
        row = self._rows.pop(key, None)
        if row is None:
            full = len(self._rows) == self._capacity
            row = self._rows.popitem(last=False)[1] if full else len(self._rows)
        self._rows[key] = row
        return row


def content_keys(pieces: Sequence[Frames], tower: str) -> list[Hashable]:
    """Return a key for each frame: equal where bytes, shape and tower are.

    Args:
        pieces: uint8 ``[b, H, W, 3]``.
        tower: :attr:`.Tower.fingerprint`.

    The bytes count as XXH3's 128 bits, so two frames that differ share a key with a chance of
    2⁻¹²⁸.

    Example:
        >>> frames = np.zeros((3, 8, 6, 3), np.uint8)
        >>> frames[1] = 1
        >>> [first, other, again] = content_keys([frames], "fp32")
        >>> first == again, first == other
        (True, False)
    """
    digest = xxhash.xxh3_128_digest
    prefix = digest(f"{tower} {pieces[0].shape[1:]}".encode())
    contiguous = (np.ascontiguousarray(piece) for piece in pieces)
    return [prefix + digest(frame) for piece in contiguous for frame in piece]
