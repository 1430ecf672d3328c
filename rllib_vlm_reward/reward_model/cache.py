"""A cache of embeddings by content, so that no frame or text is encoded twice."""

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
    """A thread-safe cache of the embeddings that were used last, or of other rows of D numbers.

    With readouts, a :class:`.RewardModel` keeps a frame's answers in one, which are its score and
    the numbers of the readouts.

    The embeddings are stored in one array in main memory, which takes ``4 · capacity · D`` bytes
    when full: 4 MB for 16,384 embeddings of length 64, 34 MB for as many of length 512, and about
    4 MB of keys. They are not stored on the device, where one thread could read a row before
    another thread's stream has written it.

    Args:
        capacity: the largest number of embeddings, 1 or more. When the cache is full, the
            embedding that was not used for the longest time is replaced.
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
        self._pending: dict[Hashable, Future[None]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._rows)

    def embed(self, keys: Sequence[Hashable], encode: Callable[[list[int]], Tensor]) -> Tensor:
        """Return the embeddings of keys, and encode only those that are not in the cache.

        If another thread is encoding a key, this waits for that thread.

        Args:
            keys: B keys; equal keys stand for equal content.
            encode: gets M positions among the keys, in ascending order: the first position of each
                distinct key that is missing. Returns float32 ``[M, D]`` on any device. It is not
                called if no key is missing, and called twice if another thread failed to encode
                some of the keys.

        Returns:
            float32 ``[B, D]``, on the device of the new embeddings; on the CPU if there are none.
        """
        firsts: dict[Hashable, int] = {}
        for position, key in enumerate(keys):
            firsts.setdefault(key, position)
        cached, embeddings, missing, pending = self._claim(firsts)
        parts = [embeddings]
        if missing:
            parts.append(self._encode(missing, [firsts[key] for key in missing], encode))
        if pending:
            # Wait after encoding, or two threads might wait for each other.
            concurrent.futures.wait(pending.values())
            waited = [firsts[key] for key in pending]
            parts.append(self.embed(list(pending), lambda p: encode([waited[i] for i in p])))
        if len(missing) == len(keys):
            return parts[-1]
        order = {key: row for row, key in enumerate([*cached, *missing, *pending])}
        device = parts[1].device if missing else parts[-1].device
        return torch.cat([part.to(device) for part in parts])[[order[key] for key in keys]]

    def put(self, keys: Sequence[Hashable], embeddings: npt.NDArray[np.float32]) -> None:
        """Store embeddings of M distinct keys, float32 ``[M, D]``; the last ones if too many."""
        kept = keys[-self._capacity :]
        with self._lock:
            self._table[[self._row(key) for key in kept]] = embeddings[-self._capacity :]

    def _claim(
        self, keys: Iterable[Hashable]
    ) -> tuple[list[Hashable], Tensor, list[Hashable], dict[Hashable, Future[None]]]:
        """Sort keys into cached, with their embeddings ``[cached, D]``; missing; and pending.

        The calling thread must encode the missing keys, which are pending for other threads.
        """
        cached, missing, pending = [], [], {}
        with self._lock:
            for key in keys:
                if key in self._rows:
                    cached.append(key)
                    self._rows.move_to_end(key)
                elif key in self._pending:
                    pending[key] = self._pending[key]
                else:
                    missing.append(key)
            self._pending |= dict.fromkeys(missing, Future())
            # Indexing by a list copies, as it must: rows are reused.
            embeddings = self._table[[self._rows[key] for key in cached]]
        return cached, torch.from_numpy(embeddings), missing, pending

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
            with self._lock:
                done = [self._pending.pop(key) for key in keys]
            done[0].set_result(None)
        return new

    def _row(self, key: Hashable) -> int:
        row = self._rows.pop(key, None)
        if row is None:
            full = len(self._rows) == self._capacity
            row = self._rows.popitem(last=False)[1] if full else len(self._rows)
        self._rows[key] = row
        return row


def content_keys(batches: Sequence[Frames], tower: str) -> list[Hashable]:
    """Return a key for each frame, equal for frames of equal bytes, shape and tower.

    The key holds a 128-bit hash of the bytes (XXH3), so two different frames have the same key with
    a probability of 2⁻¹²⁸.

    Args:
        batches: one or more batches, uint8 ``[b, H, W, 3]``.
        tower: fingerprint of the tower that encodes them, :attr:`.Tower.fingerprint`.

    Returns:
        One key for each frame, in order.

    Example:
        >>> frames = np.zeros((3, 8, 6, 3), np.uint8)
        >>> frames[1] = 1
        >>> [first, other, again] = content_keys([frames], "fp32")
        >>> first == again, first == other
        (True, False)
    """
    digest = xxhash.xxh3_128_digest
    prefix = digest(f"{tower} {batches[0].shape[1:]}".encode())
    contiguous = (np.ascontiguousarray(batch) for batch in batches)
    return [prefix + digest(frame) for batch in contiguous for frame in batch]
