"""What the CLIP alone gives: frames/s of the bare forward pass, at its best batch."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from rllib_vlm_reward.bench.traffic import Shape
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import Encoder, is_import_path, load_encoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.precision import resolve
from rllib_vlm_reward.serving.lanes import cores, use_threads

__all__ = ["BareModel", "Limit", "Way", "frames_per_second"]

SIZES = (8, 16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True)
class Way:
    """How batches are encoded.

    Attributes:
        lanes: threads that encode a batch each, at once.
        threads: torch's own, in each lane.
        batch_size: frames in a batch.
        frames_per_second: of all lanes together, uint8 frames in, embeddings out.
    """

    lanes: int
    threads: int
    batch_size: int
    frames_per_second: float


@dataclasses.dataclass(frozen=True)
class Limit:
    """What the CLIP alone gives.

    Attributes:
        best: the fastest of ``ways``.
        forward_per_second: the image tower alone, on frames that were preprocessed before; all of
            an encoder of the user's own, whose preprocessing nobody else knows.
        precision: of the image tower.
        ways: torch's own threads, and a lane a core; each at its best batch size.
    """

    best: Way
    forward_per_second: float
    precision: str
    ways: tuple[Way, ...]

    @property
    def frames_per_second(self) -> float:
        """Of the best way."""
        return self.best.frames_per_second

    @property
    def preprocess_share(self) -> float:
        """Part of a frame's time that is not the image tower's, in [0, 1]."""
        return max(0.0, 1 - self.frames_per_second / self.forward_per_second)


class BareModel:
    """A CLIP in a process of its own, with nothing around it.

    Args:
        config: of the reward: the encoder, and the precision that a pool takes for its scores.
        shape: height and width of the frames.
        device: ``cpu`` or ``cuda``, where a lane is a thread that launches its own batches.
    """

    def __init__(self, config: VLMRewardConfig, shape: Shape, *, device: str) -> None:
        self._config, self._shape, self._device = config, shape, device

    @cached_property
    def _encoder(self) -> Encoder:
        return _load(self._config, self._device)  # not in the constructor: Ray hides its errors

    def search(self, seconds: float, sizes: Sequence[int] = SIZES) -> Limit:
        """Try batch sizes, rising, for ``seconds`` each; those that take far longer are left.

        Raises:
            CheckpointError: see :func:`.load_encoder`.
            RewardError: see :meth:`.RewardModel.precision`.
        """
        shares = {(1, cores()), (cores(), 1)} if self._device == "cpu" else {(1, 1), (2, 1)}
        return self._limit(
            [self._best(*share, sizes, seconds) for share in sorted(shares)], seconds
        )

    def again(self, limit: Limit, seconds: float) -> Limit:
        """Measure the ways of a limit anew."""
        ways = [
            self._measure(way.lanes, way.threads, way.batch_size, seconds) for way in limit.ways
        ]
        return self._limit(ways, seconds)

    def _limit(self, ways: Sequence[Way], seconds: float) -> Limit:
        best = max(ways, key=lambda way: way.frames_per_second)
        alone, encoder = best.frames_per_second, self._encoder
        if isinstance(encoder, CLIPEncoder):
            pixels = encoder.preprocess(self._frames(best.batch_size))
            tower = partial(_image_tower, encoder)
            # Noise may make it slower than the whole, where frames need no resizing.
            alone = max(alone, frames_per_second(tower, pixels, best.lanes, best.threads, seconds))
        return Limit(best, alone, encoder.precision, tuple(ways))

    def _best(self, lanes: int, threads: int, sizes: Sequence[int], seconds: float) -> Way:
        tried: list[Way] = []
        for size in sizes:
            if tried and lanes * size > 4 * seconds * tried[-1].frames_per_second:
                break
            tried.append(self._measure(lanes, threads, size, seconds))
        return max(tried, key=lambda way: way.frames_per_second)

    def _measure(self, lanes: int, threads: int, size: int, seconds: float) -> Way:
        speed = frames_per_second(self._whole, self._frames(size), lanes, threads, seconds)
        return Way(lanes, threads, size, speed)

    def _frames(self, size: int) -> Frames:
        return np.random.default_rng(0).integers(0, 256, (size, *self._shape, 3), np.uint8)

    @torch.inference_mode()
    def _whole(self, frames: Frames) -> Any:
        return torch.as_tensor(self._encoder.encode_frames(frames)).cpu()  # which waits for a GPU


@torch.inference_mode()
def _image_tower(encoder: CLIPEncoder, pixels: torch.Tensor) -> Any:
    return encoder.model.encode_image(pixels).cpu()


def _load(config: VLMRewardConfig, device: str) -> Encoder:
    """Load one tower, in what ``auto`` comes to: fp32 where a lower one moves the scores."""
    if is_import_path(config.encoder):
        return load_encoder(config.encoder, device=device, precision=config.serving.precision)
    precision = resolve(config.serving.precision, torch.device(device))
    encoder = CLIPEncoder.load(config.encoder, device=device, precision=precision)
    try:
        RewardModel(encoder).precision(config.scorer)
    except RewardError:
        if config.serving.precision != "auto":
            raise
        return CLIPEncoder.load(config.encoder, device=device, precision="fp32")
    return encoder


def frames_per_second(
    encode: Callable[[Any], Any], batch: Any, lanes: int, threads: int, seconds: float
) -> float:
    """Encode a batch over and over, in each of the lanes, and return frames/s of all together.

    Args:
        encode: returns when the batch is encoded.
        batch: B frames.
        lanes: threads that encode at once.
        threads: torch's own, in each lane.
        seconds: how long, at least one batch.
    """
    start = threading.Barrier(lanes)

    def lane(_: int) -> float:
        use_threads(threads)
        encode(batch)
        start.wait()
        begin, done, took = time.perf_counter(), 0, 0.0
        while took < seconds:
            encode(batch)
            done += len(batch)
            took = time.perf_counter() - begin
        return done / took

    with ThreadPoolExecutor(lanes) as pool:
        return sum(pool.map(lane, range(lanes)))
