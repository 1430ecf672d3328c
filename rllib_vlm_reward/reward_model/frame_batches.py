"""Frames of several requests, as batches that are read where they lie."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.frames import Frames, check_frames

__all__ = ["as_frame_batches", "join", "select"]


def as_frame_batches(frames: Frames | Sequence[Frames]) -> list[Frames]:
    """Return frames as a list of checked batches, none of them copied.

    Args:
        frames: uint8 ``[B, H, W, 3]``, or a sequence of these of one H and W. They may be
            read-only, as views of shared memory are.

    Raises:
        FrameError: no batch, a batch that is not one of uint8 RGB frames, or mixed sizes.

    Example:
        >>> a, b = np.zeros((2, 8, 6, 3), np.uint8), np.zeros((1, 8, 6, 3), np.uint8)
        >>> [len(batch) for batch in as_frame_batches([a, b])]
        [2, 1]
    """
    if isinstance(frames, np.ndarray):
        return [check_frames(frames)]
    if not isinstance(frames, Sequence) or not frames:
        got = f"got {type(frames).__name__} of no array"
        raise FrameError(f"frames: {got}, expected uint8 [B, H, W, 3], or a sequence of these.")
    batches = [check_frames(batch) for batch in frames]
    sizes = {batch.shape[1:] for batch in batches}
    if len(sizes) > 1:
        raise FrameError(
            f"frames: got batches of the sizes {sorted(sizes)}, expected one [H, W, 3]. "
            "Score each size on its own."
        )
    return batches


def join(batches: Sequence[Frames], device: torch.device) -> Tensor:
    """Copy batches, each once, into one batch on a device.

    Returns:
        ``[B, H, W, 3]``: uint8 on an accelerator, whose link is the narrow place; float32 on the
        CPU, where the copy is the conversion too.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.uint8
    size = sum(map(len, batches))
    joined = torch.empty((size, *batches[0].shape[1:]), dtype=dtype, device=device)
    start = 0
    for batch in batches:
        joined[start : start + len(batch)].copy_(_viewed(batch), non_blocking=True)
        start += len(batch)
    return joined


def _viewed(batch: Frames) -> Tensor:
    """Return a tensor of a batch's own memory, which is only read."""
    if any(stride < 0 for stride in batch.strides):
        return torch.from_numpy(batch.copy())
    # torch.from_numpy warns of every read-only array, so this one is declared writable.
    interface = batch.__array_interface__
    interface["data"] = (interface["data"][0], False)
    return torch.from_numpy(np.asarray(SimpleNamespace(__array_interface__=interface, held=batch)))


def select(batches: Sequence[Frames], positions: Sequence[int]) -> list[Frames]:
    """Return the frames at ascending positions of the joined batch, as views of runs of frames.

    Example:
        >>> a, b = np.zeros((3, 8, 6, 3), np.uint8), np.zeros((2, 8, 6, 3), np.uint8)
        >>> [len(batch) for batch in select([a, b], [0, 1, 2, 4])]
        [3, 1]
    """
    wanted = np.asarray(positions)
    return [run for batch, inside in _by_batch(batches, wanted) for run in _runs(batch, inside)]


def _by_batch(batches: Sequence[Frames], wanted: np.ndarray) -> Iterator[tuple[Frames, np.ndarray]]:
    start = 0
    for batch in batches:
        low, high = np.searchsorted(wanted, (start, start + len(batch)))
        if low < high:
            yield batch, wanted[low:high] - start
        start += len(batch)


def _runs(batch: Frames, inside: np.ndarray) -> Iterator[Frames]:
    breaks = np.flatnonzero(np.diff(inside) != 1)
    firsts = inside[np.concatenate([[0], breaks + 1])].tolist()
    lasts = inside[np.concatenate([breaks, [len(inside) - 1]])].tolist()
    return (batch[first : last + 1] for first, last in zip(firsts, lasts, strict=True))
