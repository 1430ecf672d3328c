"""The batch that suits a model on its device, found by trying."""

import time

import numpy as np
import torch

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.encoder import Encoder
from rllib_vlm_reward.reward_model.model import RewardModel

__all__ = ["best_batch_size"]

_SMALLEST, _LARGEST = 16, 1024
_SECONDS = 3.0
_PASSES = 2  # so that a moment's load on the machine does not decide
_TRIALS = 3  # of a size in a pass: the first of all compiles its kernels, and takes up to ten times
_ENOUGH = 0.95  # of the best rate: beyond, a larger batch only waits longer
# Of threads that wake, take turns at Python and reply, for each batch. A pool of `small` reaches
# 0.55 of the bare rate in batches of 64, and 0.7 to 0.8 in batches of 256 (2 cores).
_AROUND = 0.002


def best_batch_size(model: RewardModel) -> int:
    """Return the smallest batch that reaches 95 % of the best rate, a power of 2 from 16 to 1024.

    A rate is that of the encoder and of what each batch costs around it, 2 ms.
    Sizes double as long as there is memory, and time: no trial begins that would end after 3
    seconds. A CLIP too slow for any trial gets 16. Measured on frames of the model's own size,
    with the threads that torch has where this is called.

    Example:
        >>> from rllib_vlm_reward.reward_model.encoder import load_encoder
        >>> best_batch_size(RewardModel(load_encoder("small"))) in [2**i for i in range(4, 11)]
        True
    """
    encoder = model.encoder
    frame = np.zeros((1, *encoder.image_size, 3), np.uint8)
    ends = time.perf_counter() + _SECONDS
    one = _fastest(encoder, frame)
    largest, fastest = _LARGEST, dict[int, float]()
    for _ in range(_PASSES):
        size, expected = _SMALLEST, _SMALLEST * one
        while size <= largest and _left(ends) > _TRIALS * fastest.get(size, expected):
            try:
                seconds = _fastest(encoder, np.repeat(frame, size, axis=0))
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                largest = size // 2
                break
            fastest[size] = min(seconds, fastest.get(size, seconds))
            size, expected = 2 * size, 2 * seconds
    rates = {size: size / (seconds + _AROUND) for size, seconds in fastest.items()}
    best = max(rates.values(), default=0.0)
    fewest = min(_SMALLEST, largest)
    return next((size for size, rate in rates.items() if rate >= _ENOUGH * best), fewest)


def _fastest(encoder: Encoder, frames: Frames) -> float:
    """Return the seconds of the fastest trial."""
    took = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        torch.as_tensor(encoder.encode_frames(frames)).cpu()
        took.append(time.perf_counter() - began)
    return min(took)


def _left(ends: float) -> float:
    return ends - time.perf_counter()
