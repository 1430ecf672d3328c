"""open_clip's image transform for a whole uint8 batch on the device, without PIL."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rllib_vlm_reward.errors import CheckpointError

__all__ = ["Preprocess", "check_preprocess"]

_INTERPOLATIONS = ("bicubic", "bilinear", "random")  # random: open_clip's evaluation takes bicubic
_RESIZE_MODES = ("shortest", "longest", "squash")


def check_preprocess(config: Mapping[str, Any]) -> None:
    """Check open_clip's ``preprocess_cfg``, of which it reads unknown values as other ones.

    Args:
        config: the settings; keys other than these four are not read.

    Raises:
        ValueError: mean or std are not three numbers of pixels in [0, 1], or the resize mode or
            interpolation is unknown.

    Example:
        >>> check_preprocess({"mean": [127, 127, 127]})
        Traceback (most recent call last):
        ...
        ValueError: preprocess_cfg: got mean [127, 127, 127], expected three numbers from 0 to 1, \
for pixels divided by 255.
    """
    for key, low in (("mean", 0.0), ("std", 1e-6)):
        values = config.get(key, (0.5, 0.5, 0.5))
        is_valid = (
            isinstance(values, list | tuple)
            and len(values) == 3
            and all(isinstance(v, int | float) and low <= v <= 1 for v in values)
        )
        if not is_valid:
            least = "0" if key == "mean" else "more than 0"
            raise ValueError(
                f"preprocess_cfg: got {key} {values!r}, expected three numbers from {least} to 1, "
                "for pixels divided by 255."
            )
    known = {"resize_mode": _RESIZE_MODES, "interpolation": _INTERPOLATIONS}
    for key, names in known.items():
        if config.get(key, names[0]) not in names:
            raise ValueError(
                f"preprocess_cfg: got {key} {config[key]!r}, expected one of {[*names]}."
            )


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resizes, crops and normalises frames as the model's open_clip transform does.

    PIL filters along the width, rounds to uint8, filters along the height and rounds again. This
    class does the same in float32. A pixel differs from PIL's by at most two levels of 255, one for
    each pass, and only where a sum is so near to n + 1/2 that PIL's 22-bit filter weights round it
    differently. The mean difference over any frame is less than a third of a level. Pillow 13
    filters tall frames along the height first; this class always begins with the width, as Pillow
    did when the models were trained.

    Attributes:
        size: height and width in pixels of the model's input.
        mean: mean of each channel, for pixels scaled to [0, 1].
        std: standard deviation of each channel, for pixels scaled to [0, 1].
        interpolation: ``bicubic`` or ``bilinear``, antialiased.
        resize_mode: ``shortest`` scales the shorter side to fit and crops the centre, ``longest``
            scales the longer side and pads, ``squash`` ignores the aspect ratio.
        fill_color: grey level of the padding with ``longest``, 0 to 255.

    Example:
        >>> preprocess = Preprocess((2, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> preprocess(torch.full((1, 4, 6, 3), 255, dtype=torch.uint8)).shape
        torch.Size([1, 3, 2, 2])
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Preprocess":
        """Create a transform from open_clip's ``model.visual.preprocess_cfg``.

        Raises:
            CheckpointError: see :func:`check_preprocess`.
        """
        try:
            check_preprocess(config)
        except ValueError as error:
            raise CheckpointError(f"{error} Correct the model's open_clip_config.json.") from error
        size = config["size"]
        return cls(
            size=(size, size) if isinstance(size, int) else (size[0], size[1]),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
            resize_mode=config["resize_mode"],
            fill_color=config.get("fill_color", 0),
        )

    def __call__(self, frames: Tensor) -> Tensor:
        """Turn frames into the model's input, on the frames' device.

        Args:
            frames: ``[B, H, W, 3]``, uint8, or float32 with values 0 to 255; not changed.

        Returns:
            float32 ``[B, 3, h, w]``, channels last, (pixel / 255 - mean) / std.
        """
        pixels = self.fit(frames.permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1)
        mean, std = (pixels.new_tensor(values) for values in (self.mean, self.std))
        # Work on whole rows of pixels: broadcasting over three channels is 8 times as slow.
        scale, shift = (values.repeat(self.size[1]) for values in (1 / (255 * std), -mean / std))
        rows = torch.addcmul(shift, pixels.flatten(2), scale)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)

    def fit(self, pixels: Tensor) -> Tensor:
        """Resize, then crop or pad: ``[B, 3, H, W]`` to ``[B, 3, h, w]``, integers 0 to 255."""
        height, width = self._resized(pixels.shape[-2], pixels.shape[-1])
        # open_clip 3.3's `shortest` ignores the interpolation if the model's input is not square.
        ignores = self.resize_mode == "shortest" and self.size[0] != self.size[1]
        mode = "bicubic" if ignores else self.interpolation
        pixels = _resize(pixels, (pixels.shape[-2], width), mode)
        pixels = _resize(pixels, (height, width), mode)
        fill = self.fill_color if self.resize_mode == "longest" else 0
        return _centre(pixels, self.size, fill)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.resize_mode == "squash":
            return self.size
        ratios = height / self.size[0], width / self.size[1]
        if self.resize_mode == "longest":
            # At least one pixel, also of a frame that is 300 times as wide as high.
            return max(round(height / max(ratios)), 1), max(round(width / max(ratios)), 1)
        if self.size[0] != self.size[1]:
            return round(height / min(ratios)), round(width / min(ratios))
        # torchvision's Resize(int) truncates where open_clip's ResizeKeepRatio rounds.
        side, shorter = self.size[0], min(height, width)
        return int(side * height / shorter), int(side * width / shorter)


def _resize(pixels: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    pixels = functional.interpolate(pixels, size, mode=mode, antialias=True)
    return pixels.add_(0.5).floor_().clamp_(0, 255)  # bicubic overshoots; PIL clips and rounds


def _centre(pixels: Tensor, size: tuple[int, int], fill: int) -> Tensor:
    down, right = size[0] - pixels.shape[-2], size[1] - pixels.shape[-1]
    if down > 0 or right > 0:
        down, right = max(down, 0), max(right, 0)
        edges = (right // 2, (right + 1) // 2, down // 2, (down + 1) // 2)
        pixels = functional.pad(pixels, edges, value=fill)
    top = round((pixels.shape[-2] - size[0]) / 2)
    left = round((pixels.shape[-1] - size[1]) / 2)
    return pixels[..., top : top + size[0], left : left + size[1]]
