"""Finds a good batch size for a model on its device by measuring several."""

import time

import numpy as np
import torch

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.encoder import Encoder
from rllib_vlm_reward.reward_model.model import RewardModel

__all__ = ["best_batch_size"]

_SMALLEST, _LARGEST = 16, 1024
_SECONDS = 3.0
_PASSES = 2  # so that a short load on the machine does not decide
# Trials per size and pass. The first one compiles kernels, and takes up to ten times as long.
_TRIALS = 3
_SHARE_OF_BEST = 0.95  # a larger batch would add latency and hardly any throughput
# Seconds per batch in which threads wake, take the GIL and reply. A pool of `small` reaches 0.55 of
# the encoder's rate with batches of 64, and 0.7 to 0.8 with batches of 256 (2 cores).
_OVERHEAD_SECONDS = 0.002


def best_batch_size(model: RewardModel) -> int:
    """Return the smallest batch that reaches 95 % of the best rate, a power of 2 from 16 to 1024.

    A rate is frames per second, where each batch takes the encoder's time and 2 ms of overhead.
    The size is doubled until memory or time runs out: no trial starts that would end after 3
    seconds. The result is 16 for a model too slow for any trial, and less if 16 frames exceed the
    memory. Frames have the model's input size, and torch uses the threads of the caller.

    Example:
        >>> from rllib_vlm_reward.reward_model.encoder import load_encoder
        >>> best_batch_size(RewardModel(load_encoder("small"))) in [2**i for i in range(4, 11)]
        True
    """
    encoder = model.encoder
    frame = np.zeros((1, *encoder.image_size, 3), np.uint8)
    deadline = time.perf_counter() + _SECONDS
    seconds_per_frame = _fastest(encoder, frame)
    largest, fastest = _LARGEST, dict[int, float]()
    for _ in range(_PASSES):
        size, expected = _SMALLEST, _SMALLEST * seconds_per_frame
        while size <= largest and _seconds_left(deadline) > _TRIALS * fastest.get(size, expected):
            try:
                seconds = _fastest(encoder, np.repeat(frame, size, axis=0))
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                largest = size // 2
                break
            fastest[size] = min(seconds, fastest.get(size, seconds))
            size, expected = 2 * size, 2 * seconds
    rates = {size: size / (seconds + _OVERHEAD_SECONDS) for size, seconds in fastest.items()}
    best = max(rates.values(), default=0.0)
    fewest = min(_SMALLEST, largest)
    return next((size for size, rate in rates.items() if rate >= _SHARE_OF_BEST * best), fewest)


def _fastest(encoder: Encoder, frames: Frames) -> float:
    """Return the seconds that the fastest of several trials takes."""
    seconds = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        torch.as_tensor(encoder.encode_frames(frames)).cpu()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _seconds_left(deadline: float) -> float:
    return deadline - time.perf_counter()
