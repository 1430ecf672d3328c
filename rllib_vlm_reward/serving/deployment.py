"""A pool's actors on a cluster: whether they fit, where they go, and when they can serve."""

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
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.request import Request
from rllib_vlm_reward.serving.router import NAMESPACE, fetch

__all__ = [
    "Demand",
    "Group",
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
# A call from another node waits in a thread of its actor while its batch forms, so this bounds how
# many of them join.
_SCORING_THREADS = 64
_PATIENCE_S = 10.0
_PLACE_TIMEOUT_S = 120.0
_LOAD_TIMEOUT_S = 1800.0  # the first run may download several GB


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a pool asks of its cluster.

    Attributes:
        actors: how many.
        cpus: that Ray reserves for each.
        gpus: for each, a whole number or a part of one GPU.

    Raises:
        PoolError: several GPUs and a part of one.

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
                f"num_gpus_per_actor: got {self.gpus:g}, expected a whole number or a part of one "
                f"GPU. Set {math.ceil(self.gpus)}, or at most 1."
            )

    @classmethod
    def of(cls, config: VLMRewardConfig, nodes: Iterable[Mapping[str, float]]) -> "Demand":
        """Return what the configuration asks; a GPU each, if not said, where there are any."""
        gpus = config.serving.num_gpus_per_actor
        if gpus is None:
            gpus = float(any(node.get("GPU") for node in nodes))
        return cls(config.serving.num_actors, config.serving.num_cpus_per_actor, gpus)

    @classmethod
    def granted(cls, bundles: Sequence[Mapping[str, float]]) -> "Demand":
        """Return what a placement group's equal bundles hold, one for each actor."""
        return cls(len(bundles), bundles[0].get("CPU", 0.0), bundles[0].get("GPU", 0.0))

    def check(self, nodes: Iterable[Mapping[str, float]]) -> None:
        """Raise if these nodes, were they idle, could not hold the pool.

        Args:
            nodes: the resources of each, such as ``{"CPU": 8.0, "GPU": 1.0}``.

        Raises:
            PoolError: what was asked, what there is, and the remedy.
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
        """Return each actor's share of a placement group; none if they reserve nothing."""
        share = {"CPU": self.cpus, "GPU": self.gpus}
        return [share] * self.actors if self.cpus or self.gpus else []

    def __str__(self) -> str:
        return f"{self.actors} actors of {self.cpus:g} CPUs and {self.gpus:g} GPUs each"

    def _room(self, node: Mapping[str, float]) -> float:
        """How many actors a node can hold; an actor never spans two nodes, nor parts of GPUs."""
        # An actor that reserves nothing runs on at least one core all the same.
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
    """Return the resources of each node of the cluster, such as ``{"CPU": 8.0, "GPU": 1.0}``."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def launch(
    config: VLMRewardConfig, name: str, indices: Sequence[int], group: Group = None
) -> list[ActorHandle]:
    """Create the actors ``name/0``, ``name/1``, ... on the cluster that Ray is connected to.

    They end with the process that calls this, however it ends.

    Args:
        config: of the run.
        name: of the pool.
        indices: of the actors to create.
        group: whose last ``num_actors`` bundles are theirs; None puts them outside of any.

    Raises:
        PoolError: the pool does not fit the cluster, or the name is taken.
    """
    # Not above: every client imports this module, and only actors need open_clip.
    from rllib_vlm_reward.serving.actor import CONTROL, RewardActor

    demand = _demand(config, group)
    actor_class = ray.remote(concurrency_groups={CONTROL: _CONTROL_THREADS})(RewardActor)
    actors: list[ActorHandle] = []
    for index in indices:
        options = actor_class.options(
            name=f"{name}/{index}",
            namespace=NAMESPACE,
            num_cpus=demand.cpus,
            num_gpus=demand.gpus,
            max_concurrency=_SCORING_THREADS,
            # A killed actor comes back and Ray sends its requests again; without both, one
            # ActorDiedError costs an env runner, 60 s and its data (RLlib 2.60).
            max_restarts=-1,
            max_task_retries=-1,
            # Without "DEFAULT" Ray 2.60 forces them into a Tune trial's group, room or not. In a
            # group any bundle will do: RLlib's actors may sit in theirs.
            scheduling_strategy=PlacementGroupSchedulingStrategy(group) if group else "DEFAULT",
        )
        try:
            actors.append(
                options.remote(
                    config.encoder,
                    precision=config.serving.precision,
                    max_batch_size=config.serving.max_batch_size,
                    cache_frames=config.serving.cache_frames,
                    num_cpus=demand.cpus,
                )
            )
        except ActorAlreadyExistsError as error:
            end(actors)
            raise PoolError(
                f"reward pool {name!r}: the name is taken on this cluster. Use the running pool "
                "(RewardPool.connect), close it, or choose another pool_name."
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
    """Look up the actors of a running pool.

    Raises:
        PoolError: one of them is not there.
    """
    try:
        return [ray.get_actor(f"{name}/{i}", namespace=NAMESPACE) for i in range(count)]
    except ValueError as error:
        raise PoolError(
            f"reward pool {name!r}: expected {count} actors named {name}/0 and on, but not all "
            "of them run on this cluster. Start the pool first (RewardPool.start), keep the "
            "process alive that did, and connect with the same name and num_actors."
        ) from error


def is_taken(name: str) -> bool:
    """Return whether a pool of this name runs."""
    running = ray.util.list_named_actors(all_namespaces=True)
    return {"namespace": NAMESPACE, "name": f"{name}/0"} in running


def end(actors: Iterable[ActorHandle]) -> None:
    """Kill actors; they do not restart."""
    for actor in actors:
        ray.kill(actor)


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
    request = Request(*blank, scorer.fingerprint)
    scored = [actor.score.remote(request, [shared]) for actor in actors]
    _await(scored, _LOAD_TIMEOUT_S, "score a blank frame")


def _await(refs: list[ray.ObjectRef], timeout_s: float, deed: str) -> list[Any]:
    try:
        answers: list[Any] = fetch(refs, timeout_s)
    except ERRORS:
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


@contextlib.contextmanager
def joined_cluster(**local: Any) -> Iterator[None]:
    """Be connected to Ray: as this process is already, else to ``RAY_ADDRESS``, else to a new one.

    A connection made here ends with the context, and with it a Ray that was started here.

    Args:
        **local: for ``ray.init``, where Ray is started on this machine.

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
        # "local", or Ray joins any cluster that another program left on this machine.
        ray.init(address="local", **local, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
