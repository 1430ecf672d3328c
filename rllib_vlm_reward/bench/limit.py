"""The speed limit: frames/s of the CLIP alone, at its best batch size."""

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
    """A way to encode batches, and its speed.

    Attributes:
        lanes: number of threads that encode a batch each at the same time.
        threads: number of torch's threads in each lane.
        batch_size: frames in a batch.
        frames_per_second: frames/s of all lanes together, from uint8 frames to embeddings.
    """

    lanes: int
    threads: int
    batch_size: int
    frames_per_second: float


@dataclasses.dataclass(frozen=True)
class Limit:
    """The speed of the CLIP alone.

    Attributes:
        best: the fastest of ``ways``.
        forward_per_second: frames/s of the image tower alone, on preprocessed frames; for a user's
            encoder, frames/s of preprocessing and forward pass together.
        precision: the precision of the image tower.
        ways: one lane with all of torch's threads, and one lane for each core, each at its best
            batch size.
    """

    best: Way
    forward_per_second: float
    precision: str
    ways: tuple[Way, ...]

    @property
    def frames_per_second(self) -> float:
        """Frames/s of the best way."""
        return self.best.frames_per_second

    @property
    def preprocess_share(self) -> float:
        """Share of a frame's time that is spent outside the image tower, in [0, 1]."""
        return max(0.0, 1 - self.frames_per_second / self.forward_per_second)


class BareModel:
    """A CLIP without pool and connector.

    Args:
        config: the reward, with its encoder and precision.
        shape: height and width of the frames.
        device: ``cpu`` or ``cuda``; on ``cuda``, a lane is a thread that launches batches.
    """

    def __init__(self, config: VLMRewardConfig, shape: Shape, *, device: str) -> None:
        self._config, self._shape, self._device = config, shape, device

    @cached_property
    def _encoder(self) -> Encoder:
        return _load(self._config, self._device)  # not in __init__, whose errors Ray hides

    def search(self, seconds: float, sizes: Sequence[int] = SIZES) -> Limit:
        """Measure each batch size for ``seconds``; skip sizes whose batch takes 4 times as long.

        Raises:
            CheckpointError: see :func:`.load_encoder`.
            RewardError: see :meth:`.RewardModel.precision`.
        """
        shares = {(1, cores()), (cores(), 1)} if self._device == "cpu" else {(1, 1), (2, 1)}
        return self._limit(
            [self._best(*share, sizes, seconds) for share in sorted(shares)], seconds
        )

    def again(self, limit: Limit, seconds: float) -> Limit:
        """Measure the ways of a limit once more."""
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
            # If frames need no resizing, noise can make it look slower than with preprocessing.
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
        return torch.as_tensor(self._encoder.encode_frames(frames)).cpu()  # waits for the GPU


@torch.inference_mode()
def _image_tower(encoder: CLIPEncoder, pixels: torch.Tensor) -> Any:
    return encoder.model.encode_image(pixels).cpu()


def _load(config: VLMRewardConfig, device: str) -> Encoder:
    """Load the encoder; ``auto`` gives fp32 if a lower precision would change the scores."""
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
    """Encode a batch repeatedly in each lane, and return the frames/s of all lanes together.

    Args:
        encode: encodes a batch, and returns when that is done.
        batch: B frames.
        lanes: number of threads that encode at the same time.
        threads: number of torch's threads in each lane.
        seconds: duration; a lane encodes at least one batch.
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
