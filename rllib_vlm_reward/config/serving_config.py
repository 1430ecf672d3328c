"""How a run's rewards are served: how many actors, on which devices, in which precision."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from rllib_vlm_reward.config.scope import ELSEWHERE
from rllib_vlm_reward.settings import Positive, Section

__all__ = ["ServingConfig"]

PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]


class ServingConfig(Section, place="vlm_reward.serving"):
    """How a run's rewards are served.

    Attributes:
        precision: in which the CLIP's image tower computes: ``fp32``, ``bf16`` or ``fp16`` (an
            error if it moves the scores too far from those of fp32), or ``auto``: the fastest
            that the device has and the scores allow. An encoder of your own has its own, so
            leave ``auto`` there.
        cache_frames: embeddings of frames that each actor keeps, so that a frame it has seen
            lately is not encoded again; 0 keeps none.
        num_actors: reward actors in the pool.
        max_actors: let the pool grow to so many while all are busy, and shrink to ``num_actors``
            while they idle; None keeps ``num_actors``.
        num_gpus_per_actor: whole or fractional; None takes 1 where the cluster has GPUs, else 0.
        num_cpus_per_actor: CPUs that Ray reserves for each actor, and that it computes on; 0
            reserves none and uses every core of its node.
        max_batch_size: frames in one forward pass at most (a CPU fills them up, by an eighth at
            most: docs/serving.md); None takes what suits the model on the actor's device, found at
            its start.
        max_in_flight: requests that one env runner may have under way; fewer where they are large,
            so that their frames stay below 128 MB.
        timeout_s: seconds until a late request goes to another actor.
        pool_name: Ray name of the pool; None makes a unique one.
    """

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    cache_frames: Annotated[int, Field(ge=0), ELSEWHERE] = 16_384
    num_actors: Annotated[int, Field(ge=1), ELSEWHERE] = 1
    max_actors: Annotated[PositiveInt | None, ELSEWHERE] = None
    num_gpus_per_actor: Annotated[NonNegative | None, ELSEWHERE] = None
    num_cpus_per_actor: Annotated[NonNegative, ELSEWHERE] = 0.0
    max_batch_size: Annotated[PositiveInt | None, ELSEWHERE] = None
    max_in_flight: Annotated[int, Field(ge=1), ELSEWHERE] = 32
    timeout_s: Annotated[Positive, ELSEWHERE] = 60.0
    pool_name: Annotated[str | None, ELSEWHERE] = None

    @pydantic.model_validator(mode="after")
    def _check_bounds(self) -> "ServingConfig":
        if self.max_actors is not None and self.max_actors < self.num_actors:
            raise ValueError(
                f"max_actors: got {self.max_actors}, expected at least num_actors="
                f"{self.num_actors}. Raise it, or leave it out."
            )
        return self
