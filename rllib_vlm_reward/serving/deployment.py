"""Checks that a pool fits the cluster, starts its actors, and waits until they are ready."""

import contextlib
import dataclasses
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorAlreadyExistsError, GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ERRORS, CheckpointError, PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.request import Request
from rllib_vlm_reward.serving.router import NAMESPACE, fetch

__all__ = [
    "Demand",
    "Group",
    "await_drift",
    "await_loaded",
    "await_scores",
    "end",
    "find",
    "is_taken",
    "joined_cluster",
    "launch",
    "living_nodes",
]

_LOG = logging.getLogger(__name__)
Group: TypeAlias = PlacementGroup | None
_CONTROL_THREADS = 4
# A call from another node waits in a thread of the actor while its batch forms, so this limits how
# many such calls can be in one batch.
_SCORING_THREADS = 64
_PATIENCE_S = 10.0
_PLACE_TIMEOUT_S = 120.0
_PEERS_TIMEOUT_S = 5.0
_LOAD_TIMEOUT_S = 1800.0  # the first run may download several GB


@dataclasses.dataclass(frozen=True)
class Demand:
    """The resources that a pool needs.

    Attributes:
        actors: number of actors.
        cpus: CPUs that Ray reserves for each actor.
        gpus: GPUs for each actor, a whole number or a fraction of one GPU.

    Raises:
        PoolError: ``gpus`` is above 1 and not a whole number.

    Example:
        >>> Demand(actors=3, cpus=0, gpus=0.5).check([{"CPU": 8.0, "GPU": 1.0}])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.PoolError: reward pool: asked for 3 actors of 0 CPUs and 0.5 \
GPUs each, but the cluster of 8 CPUs and 1 GPUs has room for 2. Lower num_actors, \
num_cpus_per_actor or num_gpus_per_actor (0.5 lets two actors share a GPU), or add nodes.
    """

    actors: int
    cpus: float
    gpus: float

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise PoolError(
                f"num_gpus_per_actor: got {self.gpus:g}, expected a whole number, or a fraction of "
                f"one GPU. Set {math.ceil(self.gpus)}, or at most 1."
            )

    @classmethod
    def of(cls, config: VLMRewardConfig, nodes: Iterable[Mapping[str, float]]) -> "Demand":
        """Return the demand of a configuration; by default one GPU per actor if a node has GPUs."""
        gpus = config.serving.num_gpus_per_actor
        if gpus is None:
            gpus = float(any(node.get("GPU") for node in nodes))
        return cls(config.serving.num_actors, config.serving.num_cpus_per_actor, gpus)

    @classmethod
    def granted(cls, bundles: Sequence[Mapping[str, float]]) -> "Demand":
        """Return the demand that matches a placement group's equal bundles, one per actor."""
        return cls(len(bundles), bundles[0].get("CPU", 0.0), bundles[0].get("GPU", 0.0))

    def check(self, nodes: Iterable[Mapping[str, float]]) -> None:
        """Check that the nodes have room for the pool if they are idle.

        Args:
            nodes: the resources of each node, such as ``{"CPU": 8.0, "GPU": 1.0}``.

        Raises:
            PoolError: the pool does not fit.
        """
        nodes = list(nodes)
        room = sum(self._room(node) for node in nodes)
        if room < self.actors:
            raise PoolError(
                f"reward pool: asked for {self}, but the cluster of {_total(nodes)} has room for "
                f"{int(room)}. Lower num_actors, num_cpus_per_actor or num_gpus_per_actor (0.5 "
                "lets two actors share a GPU), or add nodes."
            )

    def bundles(self) -> list[dict[str, float]]:
        """Return a placement group's bundles, one per actor; none if actors reserve nothing."""
        bundle = {"CPU": self.cpus, "GPU": self.gpus}
        return [bundle] * self.actors if self.cpus or self.gpus else []

    def __str__(self) -> str:
        return f"{self.actors} actors of {self.cpus:g} CPUs and {self.gpus:g} GPUs each"

    def _room(self, node: Mapping[str, float]) -> float:
        """Return how many actors fit on a node. An actor cannot use fractions of several GPUs."""
        # Allow one actor per core if actors reserve nothing.
        rooms = [math.inf if self.cpus or self.gpus else max(1.0, node.get("CPU", 0.0))]
        if self.cpus:
            rooms.append(math.floor(node.get("CPU", 0.0) / self.cpus + 1e-6))
        if self.gpus:
            gpus = math.floor(node.get("GPU", 0.0))
            rooms.append(
                gpus // self.gpus if self.gpus > 1 else gpus * math.floor(1 / self.gpus + 1e-6)
            )
        return min(rooms)


def _total(nodes: Iterable[Mapping[str, float]]) -> str:
    nodes = list(nodes)
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return f"{cpus:g} CPUs and {gpus:g} GPUs"


def living_nodes() -> list[dict[str, float]]:
    """Return the resources of each living node, such as ``{"CPU": 8.0, "GPU": 1.0}``."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def launch(
    config: VLMRewardConfig,
    name: str,
    indices: Sequence[int],
    group: Group = None,
    demand: Demand | None = None,
) -> list[ActorHandle]:
    """Create the actors ``name/0``, ``name/1``, ... on the cluster to which Ray is connected.

    The actors end with the calling process, even if it is killed.

    Args:
        config: the reward's settings.
        name: the name of the pool.
        indices: the indices of the actors to create.
        group: a placement group whose last ``num_actors`` bundles are for the actors; None starts
            them outside any group.
        demand: the resources of each actor; None finds them from the configuration and the group.

    Returns:
        The actors' handles.

    Raises:
        PoolError: the pool does not fit the cluster, or the name is taken.
        RewardError: the reward has experts, each of which needs a pool of its own.
    """
    # Imported here, since every client imports this module and only actors need open_clip.
    from rllib_vlm_reward.serving.actor import CONTROL, RewardActor

    config.expect_one_encoder("reward pool")
    demand = demand or _demand(config, group)
    actor_class = ray.remote(concurrency_groups={CONTROL: _CONTROL_THREADS})(RewardActor)
    actors: list[ActorHandle] = []
    for index in indices:
        options = actor_class.options(
            name=f"{name}/{index}",
            namespace=NAMESPACE,
            num_cpus=demand.cpus,
            num_gpus=demand.gpus,
            max_concurrency=_SCORING_THREADS,
            # Ray restarts a killed actor and sends its requests again. Otherwise, an ActorDiedError
            # would cost an env runner, 60 s and its data (RLlib 2.60).
            max_restarts=-1,
            max_task_retries=-1,
            # Without "DEFAULT", Ray 2.60 puts actors into a Tune trial's group even without room.
            # In a group, an actor may use any bundle, since RLlib's actors may use those of the
            # pool.
            scheduling_strategy=PlacementGroupSchedulingStrategy(group) if group else "DEFAULT",
        )
        try:
            given = {"num_cpus": demand.cpus, "folder": os.getcwd()}
            actors.append(options.remote(config.encoder, config.serving, **given))
        except ActorAlreadyExistsError as error:
            end(actors)
            raise PoolError(
                f"reward pool {name!r}: the name is taken on this cluster. Use the running pool "
                "with RewardPool.connect, close it, or choose another pool_name."
            ) from error
    return actors


def _demand(config: VLMRewardConfig, group: Group) -> Demand:
    if group is not None:
        return Demand.granted(group.bundle_specs[-config.serving.num_actors :])
    nodes = living_nodes()
    demand = Demand.of(config, nodes)
    demand.check(nodes)
    return demand


def find(name: str, count: int) -> list[ActorHandle]:
    """Look up the actors of a running pool: the first by its name, the others with its help.

    Args:
        name: the name of the pool.
        count: the number of actors.

    Raises:
        PoolError: an actor does not run.
    """
    try:
        first = ray.get_actor(f"{name}/0", namespace=NAMESPACE)
        if count == 1:
            return [first]
        asked = first.peers.remote(count)
        with contextlib.suppress(GetTimeoutError, RayError):
            (peers,) = fetch(asked, _PEERS_TIMEOUT_S)
            handles: list[ActorHandle] = fetch(peers, _PEERS_TIMEOUT_S)
            return handles
        ray.cancel(asked)  # see RewardPool.cancel
        # The first actor is restarting, or late.
        return [ray.get_actor(f"{name}/{i}", namespace=NAMESPACE) for i in range(count)]
    except ValueError as error:
        raise PoolError(
            f"reward pool {name!r}: expected {count} actors named {name}/0 and so on, but not all "
            "of them run on this cluster. Start the pool first with RewardPool.start, keep that "
            "process alive, and connect with the same name and num_actors."
        ) from error


def is_taken(name: str) -> bool:
    """Return whether a pool with this name is running."""
    running = ray.util.list_named_actors(all_namespaces=True)
    return {"namespace": NAMESPACE, "name": f"{name}/0"} in running


def end(actors: Iterable[ActorHandle]) -> None:
    """Kill actors; they do not restart."""
    for actor in actors:
        ray.kill(actor)


def await_loaded(actors: Sequence[ActorHandle], config: VLMRewardConfig) -> None:
    """Wait until each actor has been placed and has loaded its model.

    Args:
        actors: the actors.
        config: the reward's settings.

    Raises:
        PoolError: an actor cannot be placed, died, or is late.
        CheckpointError: the model cannot be loaded, or differs between actors.
    """
    placed = [actor.__ray_ready__.remote() for actor in actors]
    waiting = ray.wait(placed, num_returns=len(placed), timeout=_PATIENCE_S)[1]
    if waiting:
        _LOG.warning(
            "reward pool: asked for %s. After %g s, %d have not started, since they still import "
            "PyTorch or wait for room; waiting up to %g s. Free on the cluster now: %s.",
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
            "would depend on the actor. Copy the same checkpoint to every node, or give a path "
            "that the nodes share."
        )


def await_scores(actors: Sequence[ActorHandle], scorer: Scorer, shared: ray.ObjectRef) -> None:
    """Wait until each actor has scored a blank frame.

    This fails early if goals, head or precision do not suit the model.

    Args:
        actors: actors that have loaded their models.
        scorer: the run's scorer.
        shared: reference to the scorer and its texts' embeddings.

    Raises:
        PoolError: an actor died, or is late.
        GoalError: a goal does not suit the model.
        RewardError: the head or the precision does not suit the model.
    """
    blank = np.zeros((1, 64, 64, 3), np.uint8), np.zeros(1, np.int64)
    request = Request(*blank, scorer.fingerprint)
    scored = [actor.score.remote(request, [shared]) for actor in actors]
    _await(scored, _LOAD_TIMEOUT_S, "score a blank frame")


def await_drift(actor: ActorHandle, frames: Frames, shared: ray.ObjectRef) -> float | None:
    """Wait until an actor has measured how far its precision moves the scores of frames.

    Args:
        actor: an actor that has loaded its model.
        frames: uint8 ``[P, H, W, 3]``.
        shared: reference to a scorer and its texts' embeddings.

    Raises:
        PoolError: the actor died, or is late.
        RewardError: the head does not suit the model.
    """
    measured = actor.drift.remote(frames, [shared])
    drift: float | None = _await([measured], _LOAD_TIMEOUT_S, "measure its precision")[0]
    return drift


def _await(refs: list[ray.ObjectRef], timeout_s: float, action: str) -> list[Any]:
    try:
        answers: list[Any] = fetch(refs, timeout_s)
    except ERRORS:
        _read_errors(refs)
        raise
    except GetTimeoutError as error:
        raise PoolError(
            f"reward pool: an actor did not {action} within {timeout_s:g} s. Free on the cluster: "
            f"{_free()}. If other processes use the resources, lower num_cpus_per_actor, "
            "num_gpus_per_actor or num_env_runners. If enough is free, the actor's process is "
            "still starting, as on a busy machine or a slow disk: try again."
        ) from error
    except RayActorError as error:
        raise PoolError(f"reward pool: an actor died before it could {action}. {error}") from error
    return answers


def _free() -> str:
    free = ray.available_resources()
    return f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs"


def _read_errors(refs: list[ray.ObjectRef]) -> None:
    """Read the errors of all actors, since Ray prints the traceback of an unread error."""
    for ref in ray.wait(refs, num_returns=len(refs), timeout=1)[0]:
        with contextlib.suppress(RayError):
            ray.get(ref)


@contextlib.contextmanager
def joined_cluster(**local: Any) -> Iterator[None]:
    """Run the with block connected to Ray.

    If the process is not connected, connect to the cluster at ``RAY_ADDRESS``, or start Ray on this
    machine. A connection made here ends with the block; so does Ray if it was started here.

    Args:
        **local: arguments of ``ray.init`` if Ray is started on this machine.

    Example:
        >>> with joined_cluster(num_cpus=1):  # doctest: +SKIP
        ...     ray.cluster_resources()["CPU"]
        1.0
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        # Without "local", Ray would join a cluster of another program on this machine.
        ray.init(address="local", **local, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
