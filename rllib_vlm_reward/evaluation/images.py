"""Converts between frames and encoded images, which Pillow reads."""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rllib_vlm_reward.errors import FrameError
from rllib_vlm_reward.frames import Frames

__all__ = ["decode", "encode", "read_image", "size_of"]


def encode(frame: Frames) -> bytes:
    """Encode a frame, uint8 ``[H, W, 3]``, as PNG, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def size_of(image: bytes) -> tuple[int, int]:
    """Return the width and height of an encoded frame, without decoding its pixels.

    Example:
        >>> size_of(encode(np.zeros((8, 6, 3), np.uint8)))
        (6, 8)
    """
    with Image.open(io.BytesIO(image)) as opened:
        width, height = opened.size
    return width, height


def decode(image: bytes, name: str) -> Frames:
    """Decode an image: uint8 RGB ``[H, W, 3]``.

    The image is rotated by its EXIF orientation. Grey and palette images become RGB, and an alpha
    channel is dropped.

    Args:
        image: the content of a PNG, JPEG or another file that Pillow reads.
        name: the image's name in error messages.

    Raises:
        FrameError: the image cannot be read, is too large, its pixels have more than 8 bits, or
            the file has several pictures.

    Example:
        >>> decode(encode(np.zeros((8, 6, 3), np.uint8)), "black").shape
        (8, 6, 3)
    """
    try:
        with Image.open(io.BytesIO(image)) as opened:
            mode, pictures = opened.mode, getattr(opened, "n_frames", 1)
            if pictures == 1 and mode[0] not in "IF":
                return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except Image.DecompressionBombError as error:
        raise FrameError(
            f"{name}: this image is too large ({error}). Expected a frame of an env, of which the "
            "CLIP sees a few hundred pixels a side. Reduce the image."
        ) from error
    except Exception as error:  # Pillow raises many kinds for damaged images
        unknown = isinstance(error, UnidentifiedImageError)
        raise FrameError(
            f"{name} cannot be read as an image ({'unknown format' if unknown else error}), "
            "expected PNG, JPEG or another format that Pillow reads. Save the image again, or "
            "leave it out."
        ) from error
    if pictures > 1:
        raise FrameError(
            f"{name}: got a file of {pictures} pictures, expected one. Save the picture that you "
            "mean as PNG."
        )
    raise FrameError(
        f"{name}: got pixels of the mode {mode!r}, expected 8 bits a channel, such as RGB or grey. "
        "Convert the image."
    )


def read_image(path: Path) -> tuple[bytes, Frames]:
    """Return the content of an image file, and the frame that :func:`decode` reads from it.

    Raises:
        FrameError: the file does not exist, or :func:`decode` cannot read it.
    """
    if not os.path.isfile(path):  # Path.is_file raises an error for a name of 300 letters
        raise FrameError(f"{path}: this file does not exist. Correct the path.")
    content = path.read_bytes()
    return content, decode(content, str(path))
