"""The image tower: frames in, unit-norm embeddings out, in one precision on one device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.frame_batches import as_frame_batches, join
from rllib_vlm_reward.reward_model.precision import DTYPES
from rllib_vlm_reward.reward_model.preprocess import Preprocess

__all__ = ["ImageTower", "computed_size"]


def computed_size(frames: int) -> int:
    """Return the batch size that a CPU computes for so many frames: at most an eighth more.

    oneDNN compiles kernels for each batch size that it meets, and keeps them: some MiB a size for a
    bf16 ViT, 28 for RN50 (torch 2.15). What is left of a batch once the frames known are taken out
    may have any size; these are 8 an octave, 48 up to 256 frames.

    Example:
        >>> [computed_size(frames) for frames in (1, 16, 17, 33, 250)]
        [1, 16, 18, 36, 256]
    """
    step = 1 << max((frames - 1).bit_length() - 4, 0)
    return -(-frames // step) * step


class ImageTower:
    """A CLIP's image half; any number of threads may call it.

    Args:
        visual: open_clip's ``model.visual``, frozen; it is moved and converted in place.
        device: where it computes.
        precision: of weights and activations: ``fp32``, ``bf16`` or ``fp16``.
        embed_dim: D.

    Attributes:
        precision, dtype: as given, and as torch's type.
        preprocess: the model's own transform.
    """

    def __init__(
        self, visual: Any, device: torch.device, precision: str, *, embed_dim: int
    ) -> None:
        self.precision, self.dtype = precision, DTYPES[precision]
        self.preprocess = Preprocess.from_config(visual.preprocess_cfg)
        self._device, self._embed_dim = device, embed_dim
        # Frames are NHWC already, and convolutions are the faster for it (RN50: by a fifth).
        self._visual = visual.to(device, self.dtype).to(memory_format=torch.channels_last)

    def pixels(self, frames: Frames | Sequence[Frames]) -> Tensor:
        """Turn frames into the model's input: ``[B, 3, h, w]`` in the tower's precision."""
        return self.preprocess(join(as_frame_batches(frames), self._device)).to(self.dtype)

    @torch.inference_mode()
    def __call__(self, frames: Frames | Sequence[Frames]) -> Tensor:
        """Embed frames: pieces of uint8 ``[B, H, W, 3]`` to float32 ``[B, D]``, unit norm."""
        pixels = self.pixels(frames)
        if not len(pixels):  # which open_clip's patch embedding cannot reshape
            return torch.empty(0, self._embed_dim, device=self._device)
        given = len(pixels)
        pixels = self._filled(pixels)
        features = self._visual(pixels)
        if isinstance(features, tuple):  # CoCa's tower gives its tokens too
            features = features[0]
        return normalize(features[:given].float(), dim=1)

    def _filled(self, pixels: Tensor) -> Tensor:
        missing = computed_size(len(pixels)) - len(pixels)
        if self._device.type != "cpu" or not missing:  # padding by nothing would copy
            return pixels
        return pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing))
