"""The image tower, which embeds frames in one precision on one device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.frame_batches import as_frame_batches, join
from rllib_vlm_reward.reward_model.patches import with_patches
from rllib_vlm_reward.reward_model.precision import DTYPES
from rllib_vlm_reward.reward_model.preprocess import Preprocess

__all__ = ["ImageTower", "computed_size"]


def computed_size(frames: int) -> int:
    """Return the size to which a CPU fills a batch up: at most an eighth more than its frames.

    oneDNN compiles and keeps kernels for each batch size: a few MiB per size for a bf16 ViT, 28 MiB
    for RN50 (torch 2.15). After cached frames are removed, a batch may have any size. This function
    rounds up to 48 different sizes for up to 256 frames, 8 between two powers of 2.

    Args:
        frames: the number of frames in the batch.

    Example:
        >>> [computed_size(frames) for frames in (1, 16, 17, 33, 250)]
        [1, 16, 18, 36, 256]
    """
    step = 1 << max((frames - 1).bit_length() - 4, 0)
    return -(-frames // step) * step


class ImageTower:
    """A CLIP's image encoder. It is thread-safe.

    Args:
        visual: open_clip's ``model.visual``, frozen; it is moved and converted in place.
        device: the device on which to compute.
        precision: precision of weights and activations: ``fp32``, ``bf16`` or ``fp16``.
        embed_dim: D, the length of an embedding.
        fingerprint: identifies weights and precision.

    Attributes:
        precision: as given.
        fingerprint: as given.
        dtype: torch's dtype of the precision.
        preprocess: the model's image transform.
    """

    def __init__(
        self,
        visual: Any,
        device: torch.device,
        precision: str,
        *,
        embed_dim: int,
        fingerprint: str,
    ) -> None:
        self.precision, self.dtype = precision, DTYPES[precision]
        self.fingerprint = fingerprint
        self.preprocess = Preprocess.from_config(visual.preprocess_cfg)
        self._device, self._embed_dim = device, embed_dim
        # Frames are NHWC already, and convolutions are faster in this layout (RN50: by a fifth).
        self._visual = visual.to(device, self.dtype).to(memory_format=torch.channels_last)

    def pixels(self, frames: Frames | Sequence[Frames]) -> Tensor:
        """Turn frames into the model's input: ``[B, 3, h, w]`` in the tower's precision."""
        return self.preprocess(join(as_frame_batches(frames), self._device)).to(self.dtype)

    @torch.inference_mode()
    def __call__(self, frames: Frames | Sequence[Frames]) -> Tensor:
        """Embed frames: uint8 ``[B, H, W, 3]``, or several such batches, to float32 ``[B, D]``."""
        pixels = self.pixels(frames)
        if not len(pixels):  # open_clip's patch embedding cannot reshape an empty batch
            return torch.empty(0, self._embed_dim, device=self._device)
        given = len(pixels)
        pixels = self._filled(pixels)
        features = self._visual(pixels)
        if isinstance(features, tuple):  # CoCa's tower returns its tokens too
            features = features[0]
        return normalize(features[:given].float(), dim=1)

    @torch.inference_mode()
    def with_patches(self, frames: Frames | Sequence[Frames]) -> tuple[Tensor, Tensor]:
        """Embed frames and their patches, float32 ``[B, D]`` and ``[B, h, w, D]``, unit norm.

        Raises:
            RewardError: the tower has no patches, see :func:`.patches.with_patches`.
        """
        pixels = self.pixels(frames)
        given = len(pixels)
        if not given:
            empty = torch.empty(0, self._embed_dim, device=self._device)
            return empty, empty[:, None, None]
        features, patches = with_patches(self._visual, self._filled(pixels))
        return normalize(features[:given].float(), dim=1), patches[:given]

    def _filled(self, pixels: Tensor) -> Tensor:
        missing = computed_size(len(pixels)) - len(pixels)
        if self._device.type != "cpu" or not missing:  # pad copies even without padding
            return pixels
        return pad(pixels, (0, 0, 0, 0, 0, 0, 0, missing))
