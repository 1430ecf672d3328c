"""Where a run's rewards are computed: how many actors, on which devices, in which precision."""

from typing import Annotated, Literal

from pydantic import Field

from rllib_vlm_reward.section import Positive, Section

__all__ = ["ServingConfig"]


class ServingConfig(Section):
    """How a run's rewards are served.

    Attributes:
        precision: of the CLIP: ``fp32``, ``bf16`` or ``fp16``.
        num_actors: reward actors in the pool.
        num_gpus_per_actor: whole or fractional; None takes 1 where the cluster has GPUs, else 0.
        num_cpus_per_actor: CPUs that Ray reserves for each actor, and its torch threads; 0
            reserves none and uses every core of its node.
        max_batch_size: frames in one forward pass at most.
        max_in_flight: requests that one env runner may have under way.
        timeout_s: seconds until a late request goes to another actor.
        pool_name: Ray name of the pool; None makes a unique one.
    """

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    num_actors: Annotated[int, Field(ge=1)] = 1
    num_gpus_per_actor: Annotated[float, Field(ge=0.0)] | None = None
    num_cpus_per_actor: Annotated[float, Field(ge=0.0)] = 0.0
    max_batch_size: Annotated[int, Field(ge=1)] = 256
    max_in_flight: Annotated[int, Field(ge=1)] = 8
    timeout_s: Positive = 60.0
    pool_name: str | None = None
