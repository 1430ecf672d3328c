"""Chooses the image tower's precision, and measures how much it changes scores."""

import numpy as np
import torch
from torch import Tensor

from rllib_vlm_reward.errors import CheckpointError, RewardError
from rllib_vlm_reward.frames import Frames

__all__ = [
    "DTYPES",
    "TOLERANCE",
    "best_precision",
    "check_drift",
    "largest_changes",
    "probe_frames",
    "resolve",
]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = 0.02
_PROBES_OF_A_KIND = 4
_BLOCKS = (1, 2, 7)  # per side


def resolve(precision: str, device: torch.device) -> str:
    """Return the given precision, or the device's best for ``auto``.

    Raises:
        CheckpointError: the precision is unknown.

    Example:
        >>> resolve("fp32", torch.device("cpu"))
        'fp32'
    """
    if precision == "auto":
        return best_precision(device)
    if precision not in DTYPES:
        expected = ", ".join(["auto", *DTYPES])
        raise CheckpointError(f"precision: got {precision!r}, expected one of {expected}.")
    return precision


def best_precision(device: torch.device) -> str:
    """Return the fastest precision of a device, according to its reported capabilities.

    Nothing is timed, so a restart on the same machine gives the same precision.

    Returns:
        ``bf16`` for CUDA of capability 8 or more, ``fp16`` for older; ``bf16`` for a CPU with
        AVX-512 bf16 or AMX; else ``fp32``.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    # torch 2.4 lacks these functions (2.5 has them). There, and on other CPUs than x86, use fp32.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)
    return "bf16" if fast else "fp32"


def probe_frames(size: tuple[int, int]) -> Frames:
    """Return the 16 seeded frames on which precisions are compared: uint8 ``[16, h, w, 3]``.

    They show noise, and random colours in 1, 2 × 2 and 7 × 7 blocks. They stand in for the frames
    of an env where there is none, and a precision may change the scores of real frames more. With
    bf16 and 18 BabyAI goals, the largest change per frame is on average 0.008 for noise, 0.006 for
    blocks and 0.0003 for BabyAI frames with ``small``, and 0.001, 0.004 and 0.00001 with ``base``.

    Args:
        size: height h and width w in pixels.
    """
    rng = np.random.default_rng(0)
    kinds = [rng.integers(0, 256, (_PROBES_OF_A_KIND, *size, 3), np.uint8)]
    for blocks in _BLOCKS:
        colours = rng.integers(0, 256, (_PROBES_OF_A_KIND, blocks, blocks, 3), np.uint8)
        rows, columns = (np.arange(side) * blocks // side for side in size)
        kinds.append(colours[:, rows][:, :, columns])
    return np.concatenate(kinds)


def check_drift(drift: float, precision: str, head: object, frames: str) -> None:
    """Check how far a precision that the user named moves scores.

    Args:
        drift: see :func:`largest_changes`.
        precision: such as ``bf16``.
        head: the head of the scores.
        frames: what the frames were.

    Raises:
        RewardError: the drift is more than :data:`TOLERANCE`.

    Example:
        >>> check_drift(0.03, "bf16", "Softmax", "16 made-up frames")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.RewardError: precision drift: bf16 changes scores of Softmax by \
0.030 compared with fp32, expected at most 0.02 (mean over 16 made-up frames of the largest \
change). Set precision: auto or fp32, or a higher temperature.
    """
    if drift > TOLERANCE:
        raise RewardError(
            f"precision drift: {precision} changes scores of {head} by {drift:.3f} compared with "
            f"fp32, expected at most {TOLERANCE} (mean over {frames} of the largest change). Set "
            "precision: auto or fp32, or a higher temperature."
        )


def largest_changes(exact: Tensor, low: Tensor) -> float:
    """Return the mean over P frames of the largest change of a score.

    At most :data:`TOLERANCE` = 0.02 of a probability or cosine is allowed: three times the change
    by bf16 for ``small`` (0.006), six times that for ``base``, and far less than the differences
    that β separates. For ViT-B-32 with random weights the change is 0.0001.

    Args:
        exact: the frames' scores in fp32, ``[P, G]``.
        low: their scores in the other precision, ``[P, G]``.

    Example:
        >>> scores = torch.tensor([[0.25, 0.5], [0.0, 1.0]])
        >>> largest_changes(scores, scores + torch.tensor([[0.5, 0.0], [0.25, 0.25]]))
        0.375
        >>> largest_changes(scores, torch.full((2, 2), torch.nan))
        inf
    """
    changes = (exact - low).float().abs()
    changes = changes.nan_to_num(nan=torch.inf, posinf=torch.inf)  # fp16 may overflow
    changes[~exact.isfinite()] = 0.0  # RewardModel.score raises an error for such a score
    return float(changes.amax(dim=1).mean())
