"""The precision of the image tower: the best that the device has, as long as the score allows."""

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.frames import Frames

__all__ = ["DTYPES", "TOLERANCE", "best_precision", "largest_changes", "probe_frames", "resolve"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = 0.02
_PROBES_OF_A_KIND = 4
_BLOCKS = (1, 2, 7)  # a side


def resolve(precision: str, device: torch.device) -> str:
    """Return ``precision`` itself, or for ``auto`` the device's best.

    Raises:
        CheckpointError: an unknown precision.

    Example:
        >>> resolve("fp32", torch.device("cpu"))
        'fp32'
    """
    if precision == "auto":
        return best_precision(device)
    if precision not in DTYPES:
        expected = ", ".join(["auto", *DTYPES])
        raise CheckpointError(f"precision: got {precision!r}, expected {expected}.")
    return precision


def best_precision(device: torch.device) -> str:
    """Return the fastest precision that a device computes in, from what the device reports.

    No timing decides, so a restart on the same machine chooses the same.

    Returns:
        ``bf16`` for CUDA of capability 8 or more, ``fp16`` for older; ``bf16`` for a CPU with
        AVX-512 bf16 or AMX; else ``fp32``.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    # torch 2.4 lacks these (2.5 has them); there, and on what is no x86, fp32 is never wrong.
    signs = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = device.type == "cpu" and any(getattr(torch.cpu, sign, bool)() for sign in signs)
    return "bf16" if fast else "fp32"


def probe_frames(size: tuple[int, int]) -> Frames:
    """Return the 16 seeded frames on which precisions are compared: uint8 ``[16, h, w, 3]``.

    Noise, and random colours in 1, 2 × 2 and 7 × 7 blocks. With bf16 and 18 BabyAI goals the
    scores of such frames drift over 20 times as far as those of BabyAI's own (mean largest drift
    of a frame, ``small``: noise 0.008, blocks 0.006, BabyAI 0.0003; ``base``: 0.001, 0.004,
    0.00001), since a model is less sure of what it has not seen.
    """
    rng = np.random.default_rng(0)
    kinds = [rng.integers(0, 256, (_PROBES_OF_A_KIND, *size, 3), np.uint8)]
    for blocks in _BLOCKS:
        colours = rng.integers(0, 256, (_PROBES_OF_A_KIND, blocks, blocks, 3), np.uint8)
        rows, columns = (np.arange(side) * blocks // side for side in size)
        kinds.append(colours[:, rows][:, :, columns])
    return np.concatenate(kinds)


def largest_changes(exact: Tensor, low: Tensor) -> float:
    """Return how far a precision moves scores: a probe frame's largest change, on average.

    :data:`TOLERANCE` is 0.02, of a probability or a cosine: three times what bf16 does to ``small``
    (0.006), six times what it does to ``base``, and far below what β separates (ViT-B-32 with
    random weights: 0.0001).

    Args:
        exact, low: the probe frames' scores in fp32 and in the precision, ``[P, G]``.

    Example:
        >>> scores = torch.tensor([[0.25, 0.5], [0.0, 1.0]])
        >>> largest_changes(scores, scores + torch.tensor([[0.5, 0.0], [0.25, 0.25]]))
        0.375
    """
    # A score that is not finite is an error of its own, when it is asked for.
    return float((exact - low).float().abs().nan_to_num(0.0).amax(dim=1).mean())
