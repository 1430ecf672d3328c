"""Frames/s that clients get through pool and connector, compared with the limit."""

import dataclasses
import uuid
from typing import Annotated

import ray
from pydantic import Field

from rllib_vlm_reward.bench.limit import BareModel, Limit
from rllib_vlm_reward.bench.traffic import connect, rate, start_clients, together
from rllib_vlm_reward.config import ServingConfig, VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.serving.deployment import Demand, living_nodes
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.router import fetch
from rllib_vlm_reward.settings import Positive, Section

__all__ = ["Load", "Served", "measure_served", "read_load"]

Side = Annotated[int, Field(gt=0)]
_STEPS = 16  # steps of a fragment; few, since a large CLIP takes seconds for one


class Load(Section):
    """A load to measure.

    Attributes:
        reward: the reward, with its model and the settings of its pool.
        frame: height and width of the frames, in pixels.
        runners: number of env runners, each in a separate process.
        request: frames in a request: one for each sub-env of a runner.
        seconds: duration of each measurement.
    """

    reward: VLMRewardConfig
    frame: tuple[Side, Side] = (224, 224)
    runners: Annotated[int, Field(ge=1)] = 2
    request: Annotated[int, Field(ge=1)] = 16
    seconds: Positive = 5.0


def read_load(
    encoder: str | None, frame: str, *, runners: int, actors: int, request: int, seconds: float
) -> Load:
    """Return the load that the command line describes.

    Args:
        encoder: see :meth:`CLIPEncoder.load`.
        frame: height and width, such as ``480x640``.
        runners: see :class:`Load`.
        actors: number of reward actors in the pool.
        request: see :class:`Load`.
        seconds: see :class:`Load`.

    Raises:
        ConfigError: there is no encoder, or ``frame`` is not HEIGHTxWIDTH.

    Example:
        >>> read_load("small", "56x64", runners=2, actors=1, request=16, seconds=1.0).frame
        (56, 64)
    """
    if encoder is None:
        raise ConfigError(
            "bench: got neither CONFIG nor --encoder, expected one. Give the YAML of a run, "
            "or a CLIP such as --encoder small."
        )
    sides = frame.split("x")
    if len(sides) != 2 or not all(side.isdecimal() for side in sides):
        raise ConfigError(f"--frame: got {frame!r}, expected HEIGHTxWIDTH, such as 480x640.")
    reward = VLMRewardConfig(
        encoder=encoder,
        goals=("a red ball",),
        negatives=("a blue key",),
        serving=ServingConfig(num_actors=actors),
    )
    return Load(
        reward=reward,
        frame=(int(sides[0]), int(sides[1])),
        runners=runners,
        request=request,
        seconds=seconds,
    )


@dataclasses.dataclass(frozen=True)
class Served:
    """Frames/s, and how the time of a frame is divided.

    Attributes:
        frames_per_second: frames/s of all clients together.
        limit: the CLIP alone, on one actor's device or on all cores.
        limit_per_second: frames/s of the CLIP alone on all devices.
        batch_mean: mean number of frames in a forward pass.
        preprocess_s: seconds of a frame in preprocessing.
        forward_s: seconds of a frame in the forward pass.
        transport_s: the other seconds of a frame. They include the work of clients that share
            cores with the actors.
    """

    frames_per_second: float
    limit: Limit
    limit_per_second: float
    batch_mean: float
    preprocess_s: float
    forward_s: float
    transport_s: float


def measure_served(load: Load) -> Served:
    """Measure the limit, then the pool with its clients. Ray must be initialised.

    Raises:
        PoolError, CheckpointError, GoalError, RewardError: see :meth:`RewardPool.start`.
    """
    gpus = Demand.of(load.reward, living_nodes()).gpus
    limit = _limit(load, gpus)  # before the pool, which may take all GPUs
    pool = RewardPool.start(load.reward, name=f"bench-{uuid.uuid4().hex[:8]}")
    try:
        clients = start_clients(
            load.runners,
            load.reward,
            {"pool": connect(pool.name, load.reward)},
            load.request,
            load.frame,
        )
        # The first requests are slower: they set up what later ones use.
        together(clients, "drive", "pool", 0.5, _STEPS)
        driven = together(clients, "drive", "pool", load.seconds, _STEPS)
        batch_mean = pool.stats()[0]["batch_mean"]
        for client in clients:
            ray.kill(client)
    finally:
        pool.close()
    # An actor with several GPUs uses one of them.
    devices = max(1, round(load.reward.serving.num_actors * min(gpus, 1)))
    return _split(rate(driven), limit, devices, batch_mean)


def _limit(load: Load, gpus: float) -> Limit:
    """Measure the limit in an actor, since the driver may have no GPU."""
    kind = ray.remote(num_cpus=0, num_gpus=gpus)(BareModel)
    bare = kind.remote(load.reward, load.frame, device="cuda" if gpus else "cpu")
    limit: Limit = fetch(bare.search.remote(min(1.0, load.seconds / 5), (16, 64, 256)))
    ray.kill(bare)
    return limit


def _split(speed: float, limit: Limit, devices: int, batch_mean: float) -> Served:
    whole = devices * limit.frames_per_second
    reward_s = min(1 / whole, 1 / speed)
    return Served(
        frames_per_second=speed,
        limit=limit,
        limit_per_second=whole,
        batch_mean=batch_mean,
        preprocess_s=reward_s * limit.preprocess_share,
        forward_s=reward_s * (1 - limit.preprocess_share),
        transport_s=max(0.0, 1 / speed - reward_s),
    )
