"""Batches of frames from several requests, read without a copy where possible."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.frames import Frames, check_frames

__all__ = ["as_frame_batches", "join", "select"]


def as_frame_batches(frames: Frames | Sequence[Frames]) -> list[Frames]:
    """Check frames and return them as a list of batches, without a copy.

    Args:
        frames: uint8 ``[B, H, W, 3]``, or a sequence of such arrays with equal H and W. They may be
            read-only, as views of shared memory are.

    Raises:
        FrameError: there is no batch, a batch is not of uint8 RGB frames, or the sizes differ.

    Example:
        >>> a, b = np.zeros((2, 8, 6, 3), np.uint8), np.zeros((1, 8, 6, 3), np.uint8)
        >>> [len(batch) for batch in as_frame_batches([a, b])]
        [2, 1]
    """
    if isinstance(frames, np.ndarray):
        return [check_frames(frames)]
    if not isinstance(frames, Sequence) or not frames:
        empty = "an empty " if isinstance(frames, Sequence) else ""
        raise FrameError(
            f"frames: got {empty}{type(frames).__name__}, expected uint8 [B, H, W, 3], or a "
            "sequence of such arrays. Stack the frames first."
        )
    batches = [check_frames(batch) for batch in frames]
    sizes = {batch.shape[1:] for batch in batches}
    if len(sizes) > 1:
        raise FrameError(
            f"frames: got batches of the sizes {sorted(sizes)}, expected one [H, W, 3]. "
            "Score the frames of each size in a separate call."
        )
    return batches


def join(batches: Sequence[Frames], device: torch.device) -> Tensor:
    """Copy batches into one batch on a device.

    Returns:
        ``[B, H, W, 3]``: uint8 on an accelerator, since the transfer is the bottleneck; float32 on
        the CPU, where copying converts at no extra cost.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.uint8
    size = sum(map(len, batches))
    joined = torch.empty((size, *batches[0].shape[1:]), dtype=dtype, device=device)
    start = 0
    for batch in batches:
        joined[start : start + len(batch)].copy_(_as_tensor(batch), non_blocking=True)
        start += len(batch)
    return joined


def _as_tensor(batch: Frames) -> Tensor:
    """Return a tensor that shares the batch's memory where it can; callers only read it."""
    if any(stride < 0 for stride in batch.strides):
        return torch.from_numpy(batch.copy())
    # torch.from_numpy warns about read-only arrays, so declare this one writable.
    interface = batch.__array_interface__
    interface["data"] = (interface["data"][0], False)
    return torch.from_numpy(np.asarray(SimpleNamespace(__array_interface__=interface, held=batch)))


def select(batches: Sequence[Frames], positions: Sequence[int]) -> list[Frames]:
    """Return the frames at some positions of the joined batch, as views of consecutive frames.

    Args:
        batches: uint8 ``[b, H, W, 3]`` each.
        positions: ascending positions in the joined batch.

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
