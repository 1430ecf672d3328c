"""The contract of a frame: uint8 RGB ``[H, W, 3]``; a batch is ``[B, H, W, 3]``."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rllib_vlm_reward.errors import FrameError

__all__ = ["Frames", "check_each", "check_frames"]

Frames = npt.NDArray[np.uint8]


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def _convert(value: Any, *, one: bool = False) -> str:
    """Return how a value that is no array becomes frames; neither torch nor PIL is imported."""
    package = type(value).__module__.partition(".")[0]
    if package == "torch":
        return "Convert the tensor with frames.cpu().numpy(), as uint8 in the order [H, W, 3]."
    if package == "PIL":
        return 'Convert the image with np.asarray(image.convert("RGB")).'
    if isinstance(value, list | tuple) and one:
        return (
            'Set render_mode="rgb_array": with rgb_array_list, render() returns all frames since '
            "the last call. Or return only the last one, frames[-1]."
        )
    if isinstance(value, list | tuple):
        return 'Stack the frames with np.stack(frames); an env needs render_mode="rgb_array".'
    return 'Create the env with render_mode="rgb_array".'


def check_frames(frames: Any, *, source: str = "frames") -> Frames:
    """Return ``frames`` unchanged if it is a batch of uint8 RGB frames, else raise.

    Args:
        frames: uint8 ``[B, H, W, 3]``, values 0 to 255.
        source: where the frames came from, for the error message.

    Raises:
        FrameError: the type, dtype, rank or number of channels is wrong, or a side is zero.

    Example:
        >>> check_frames(np.zeros((2, 8, 8, 3), np.uint8)).shape
        (2, 8, 8, 3)
        >>> check_frames(np.zeros((2, 8, 8, 3), np.float32))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.FrameError: frames: got float32 [2, 8, 8, 3], expected \
uint8 [B, H, W, 3]. If they lie in [0, 1], convert them with (255 * frames).astype(np.uint8).
    """
    expected = "expected uint8 [B, H, W, 3]"
    if not isinstance(frames, np.ndarray):
        raise FrameError(f"{source}: got {_describe(frames)}, {expected}. {_convert(frames)}")
    if frames.dtype != np.uint8:
        raise FrameError(
            f"{source}: got {_describe(frames)}, {expected}. "
            "If they lie in [0, 1], convert them with (255 * frames).astype(np.uint8)."
        )
    if frames.ndim == 3 and frames.shape[-1] == 3:
        raise FrameError(
            f"{source}: got {_describe(frames)}, {expected}. For a single frame, add the batch "
            "axis: frames[None]."
        )
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise FrameError(
            f"{source}: got {_describe(frames)}, {expected}. Repeat the channel of grey frames "
            "three times, drop the alpha channel of RGBA, or transpose CHW to HWC."
        )
    if 0 in frames.shape[1:]:
        raise FrameError(
            f"{source}: got {_describe(frames)}, {expected} with H, W > 0. "
            "Check the size at which the env renders."
        )
    return frames


def check_each(
    frames: Sequence[Any], *, source: str = "frames", name: Callable[[int], str] | None = None
) -> Sequence[Frames]:
    """Return single frames unchanged if they could be stacked into a batch, else raise.

    Args:
        frames: B arrays, each uint8 ``[H, W, 3]`` of one size.
        source: where the frames came from, for the error message.
        name: returns the name of the frame at an index, for the error message.

    Raises:
        FrameError: there is no frame, the sizes differ, or :func:`check_frames` refuses a frame.

    Example:
        >>> check_each([np.zeros((4, 6, 3), np.uint8), np.zeros((4, 7, 3), np.uint8)])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.FrameError: frames: got mixed sizes [(4, 6, 3), (4, 7, 3)], \
expected one [H, W, 3]. Resize the frames in the env.
    """

    def where(index: int) -> str:
        return source if name is None else f"{source}, {name(index)}"

    if not len(frames):
        raise FrameError(
            f"{source}: got no frame, expected at least one uint8 [H, W, 3]. Return one."
        )
    for index, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray):
            raise FrameError(
                f"{where(index)}: got {_describe(frame)}, expected uint8 [H, W, 3]. "
                f"{_convert(frame, one=True)}"
            )
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        other = next(i for i, frame in enumerate(frames) if frame.shape != frames[0].shape)
        raise FrameError(
            f"{where(other)}: got mixed sizes {sorted(sizes)}, expected one [H, W, 3]. "
            "Resize the frames in the env."
        )
    # One frame of each dtype is enough, since all have one size. Hashing the dtype's letter takes
    # a fifth of the time that hashing the dtype takes.
    for index in {frame.dtype.char: index for index, frame in enumerate(frames)}.values():
        if frames[index].ndim < 2:
            raise FrameError(
                f"{where(index)}: got {_describe(frames[index])}, expected uint8 [H, W, 3]. This "
                'is no picture. Choose another source, such as frames={"source": "render"}.'
            )
        check_frames(frames[index][None], source=where(index))
    return frames
