"""Whether new actors serve: placed, loaded, of one mind, and able to score."""

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError, GoalError, PoolError, RewardError
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.pending import fetch
from rllib_vlm_reward.serving.placement import Demand, living_nodes

__all__ = ["await_loaded", "await_scores"]

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 10.0
_PLACE_TIMEOUT_S = 120.0
_LOAD_TIMEOUT_S = 1800.0  # the first run may download several GB


def await_loaded(actors: Sequence[ActorHandle], config: VLMRewardConfig) -> None:
    """Wait until each actor has a place and has loaded its model.

    Raises:
        PoolError: an actor finds no room, or died, or is late.
        CheckpointError: the model cannot be loaded, or differs between actors.
    """
    placed = [actor.__ray_ready__.remote() for actor in actors]
    waiting = ray.wait(placed, num_returns=len(placed), timeout=_PATIENCE_S)[1]
    if waiting:
        _LOG.warning(
            "reward pool: asked for %s; after %g s %d have not started, waiting up to %g s. "
            "Free, besides what they may hold by now: %s.",
            dataclasses.replace(Demand.of(config, living_nodes()), actors=len(actors)),
            *(_PATIENCE_S, len(waiting), _PLACE_TIMEOUT_S),
            _free(),
        )
    _await(placed, _PLACE_TIMEOUT_S, "start")
    described = [actor.describe.remote() for actor in actors]
    models = _await(described, _LOAD_TIMEOUT_S, "load its model")
    if len({model["encoder_fingerprint"] for model in models}) > 1:
        raise CheckpointError(
            f"encoder {config.encoder!r}: the actors loaded different weights, so a frame's score "
            "would depend on who gives it. Make the checkpoint the same on every node, or give a "
            "path that they share."
        )


def await_scores(actors: Sequence[ActorHandle], scorer: Scorer, shared: ray.ObjectRef) -> None:
    """Wait until each actor has scored a blank frame, which it does not in a precision that drifts.

    Args:
        actors: that have loaded their models.
        scorer: the run's.
        shared: the scorer and its texts' embeddings.

    Raises:
        PoolError: an actor died, or is late.
        GoalError, RewardError: goals, head and precision do not suit the model.
    """
    blank = np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1, np.int64)
    args = (*blank, scorer.fingerprint, [shared])
    _await([actor.score.remote(*args) for actor in actors], _LOAD_TIMEOUT_S, "score a blank frame")


def _await(refs: list[ray.ObjectRef], timeout_s: float, deed: str) -> list[Any]:
    try:
        answers: list[Any] = fetch(refs, timeout_s)
    except (CheckpointError, GoalError, PoolError, RewardError):
        _take_note(refs)
        raise
    except GetTimeoutError as error:
        raise PoolError(
            f"reward pool: an actor did not {deed} within {timeout_s:g} s. Free on the cluster: "
            f"{_free()}. Where others hold them, lower num_cpus_per_actor, num_gpus_per_actor or "
            "num_env_runners."
        ) from error
    except RayActorError as error:
        raise PoolError(f"reward pool: an actor died as it started. {error}") from error
    return answers


def _free() -> str:
    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs"


def _take_note(refs: list[ray.ObjectRef]) -> None:
    """Read the errors of the other actors too, or Ray prints each one's traceback."""
    for ref in ray.wait(refs, num_returns=len(refs), timeout=1)[0]:
        with contextlib.suppress(RayError):
            ray.get(ref)
