"""How rewards are computed: the number of actors, their devices and precision."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from rllib_vlm_reward.config.scope import ELSEWHERE, SERVED, SERVED_ELSEWHERE
from rllib_vlm_reward.settings import Positive, Section

__all__ = ["ServingConfig"]

PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class ServingConfig(Section, place="vlm_reward.serving"):
    """How rewards are computed by Ray actors.

    Read in ``serving/``: ``actor.py`` in an actor, ``pool.py`` in an env runner, ``deployment.py``
    and ``autoscale.py`` where actors are placed.

    Attributes:
        precision: precision of CLIP's image tower: ``fp32``, ``bf16`` or ``fp16``, which is an
            error if it changes scores too much compared with fp32; or ``auto``, the fastest
            precision that all devices and the scores of the env's frames allow. Leave ``auto`` for
            an encoder of your own.
        cache_frames: how many frames' embeddings each actor keeps, so that an equal frame is not
            encoded again; 0 keeps none.
        num_actors: number of reward actors in the pool.
        max_actors: the pool grows up to this number while all actors are busy, and shrinks to
            ``num_actors`` while they are idle; None keeps ``num_actors``.
        num_gpus_per_actor: 0, 1 or a fraction of a GPU, since an actor computes on one; None takes
            1 if the cluster has GPUs, else 0.
        num_cpus_per_actor: number of CPUs that Ray reserves for each actor, and that it uses. With
            0, none are reserved, and it uses all cores of its node.
        max_batch_size: largest number of frames in one forward pass (a CPU pads it by up to an
            eighth, see docs/serving.md); None measures at the start which size suits the model and
            the device.
        max_in_flight: largest number of unanswered requests of one env runner; less if their frames
            would exceed 128 MB.
        timeout_s: seconds after which an unanswered request is also sent to another actor.
        pool_name: Ray name of the pool; None makes a unique one.

    Raises:
        pydantic.ValidationError: a key is unknown, or a value is outside its range.
    """

    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], SERVED] = "auto"
    cache_frames: Annotated[int, Field(ge=0), SERVED_ELSEWHERE] = 16_384
    num_actors: Annotated[int, Field(ge=1), SERVED_ELSEWHERE] = 1
    max_actors: Annotated[PositiveInt | None, SERVED_ELSEWHERE] = None
    num_gpus_per_actor: Annotated[NonNegative | None, SERVED_ELSEWHERE] = None
    num_cpus_per_actor: Annotated[NonNegative, SERVED_ELSEWHERE] = 0.0
    max_batch_size: Annotated[PositiveInt | None, SERVED_ELSEWHERE] = None
    max_in_flight: Annotated[int, Field(ge=1), SERVED_ELSEWHERE] = 32
    timeout_s: Annotated[Positive, SERVED_ELSEWHERE] = 60.0
    pool_name: Annotated[str | None, ELSEWHERE] = None

    @pydantic.field_validator("num_gpus_per_actor")
    @classmethod
    def _check_gpus(cls, given: float | None) -> float | None:
        if given is not None and given > 1:
            raise ValueError(
                f"got {given:g}, expected at most 1, since an actor computes on one GPU and the "
                "others would stand idle. Set it to 1, and raise num_actors."
            )
        return given

    @pydantic.model_validator(mode="after")
    def _check_bounds(self) -> "ServingConfig":
        if self.max_actors is not None and self.max_actors < self.num_actors:
            raise ValueError(
                f"max_actors: got {self.max_actors}, expected at least num_actors="
                f"{self.num_actors}. Raise it, or leave it out."
            )
        return self
