"""Frames in pieces: what several requests hold, read from where it lies."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.frames import Frames, check_frames

__all__ = ["as_pieces", "join", "select"]


def as_pieces(frames: Frames | Sequence[Frames]) -> list[Frames]:
    """Return frames as a list of checked pieces, none of them copied.

    Args:
        frames: uint8 ``[B, H, W, 3]``, or a sequence of these of one H and W. They may be
            read-only, as views of shared memory are.

    Raises:
        FrameError: no piece, a piece that is no batch of uint8 RGB frames, or mixed sizes.

    Example:
        >>> a, b = np.zeros((2, 8, 6, 3), np.uint8), np.zeros((1, 8, 6, 3), np.uint8)
        >>> [len(piece) for piece in as_pieces([a, b])]
        [2, 1]
    """
    if isinstance(frames, np.ndarray):
        return [check_frames(frames)]
    if not isinstance(frames, Sequence) or not frames:
        check = f"got {type(frames).__name__} of no array"
        raise FrameError(f"frames: {check}, expected uint8 [B, H, W, 3], or a sequence of these.")
    pieces = [check_frames(piece) for piece in frames]
    sizes = {piece.shape[1:] for piece in pieces}
    if len(sizes) > 1:
        raise FrameError(
            f"frames: got pieces of the sizes {sorted(sizes)}, expected one [H, W, 3]. "
            "Score each size on its own."
        )
    return pieces


def join(pieces: Sequence[Frames], device: torch.device) -> Tensor:
    """Copy pieces, each once, into one batch on a device.

    Returns:
        ``[B, H, W, 3]``: uint8 on an accelerator, whose link is the narrow place; float32 on the
        CPU, where the copy is the conversion too.
    """
    dtype = torch.float32 if device.type == "cpu" else torch.uint8
    size = sum(map(len, pieces))
    batch = torch.empty((size, *pieces[0].shape[1:]), dtype=dtype, device=device)
    start = 0
    for piece in pieces:
        batch[start : start + len(piece)].copy_(_viewed(piece), non_blocking=True)
        start += len(piece)
    return batch


def _viewed(piece: Frames) -> Tensor:
    """Return a tensor of a piece's own memory, which is only read."""
    if any(stride < 0 for stride in piece.strides):
        return torch.from_numpy(piece.copy())
    # torch.from_numpy warns of every read-only array, so it is told that this one is not.
    interface = piece.__array_interface__
    interface["data"] = (interface["data"][0], False)
    return torch.from_numpy(np.asarray(SimpleNamespace(__array_interface__=interface, held=piece)))


def select(pieces: Sequence[Frames], positions: Sequence[int]) -> list[Frames]:
    """Return the frames at ascending positions of the joined batch, as views, runs together.

    Example:
        >>> a, b = np.zeros((3, 8, 6, 3), np.uint8), np.zeros((2, 8, 6, 3), np.uint8)
        >>> [len(piece) for piece in select([a, b], [0, 1, 2, 4])]
        [3, 1]
    """
    wanted = np.asarray(positions)
    return [run for piece, inside in _by_piece(pieces, wanted) for run in _runs(piece, inside)]


def _by_piece(pieces: Sequence[Frames], wanted: np.ndarray) -> Iterator[tuple[Frames, np.ndarray]]:
    start = 0
    for piece in pieces:
        low, high = np.searchsorted(wanted, (start, start + len(piece)))
        if low < high:
            yield piece, wanted[low:high] - start
        start += len(piece)


def _runs(piece: Frames, inside: np.ndarray) -> Iterator[Frames]:
    breaks = np.flatnonzero(np.diff(inside) != 1)
    firsts = inside[np.concatenate([[0], breaks + 1])].tolist()
    lasts = inside[np.concatenate([breaks, [len(inside) - 1]])].tolist()
    return (piece[first : last + 1] for first, last in zip(firsts, lasts, strict=True))
