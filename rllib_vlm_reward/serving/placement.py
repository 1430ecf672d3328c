"""Whether a pool fits the cluster, and its actors put there."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorAlreadyExistsError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import PoolError

__all__ = [
    "NAMESPACE",
    "Demand",
    "Group",
    "end",
    "find",
    "is_taken",
    "launch",
    "living_nodes",
    "present",
]

NAMESPACE = "rllib_vlm_reward"
Group: TypeAlias = PlacementGroup | None
_CONTROL_THREADS = 4
# A call from another node waits in a thread of its actor while its batch forms, so this bounds how
# many of them join.
_SCORING_THREADS = 64


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
        gpus = config.num_gpus_per_actor
        if gpus is None:
            gpus = float(any(node.get("GPU") for node in nodes))
        return cls(config.num_actors, config.num_cpus_per_actor, gpus)

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
                    precision=config.precision,
                    max_batch_size=config.max_batch_size,
                    cache_frames=config.cache_frames,
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
        return Demand.granted(group.bundle_specs[-config.num_actors :])
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


def present(name: str) -> dict[int, ActorHandle]:
    """Return the running actors of a pool, by their index."""
    running = ray.util.list_named_actors(all_namespaces=True)
    prefix = f"{name}/"
    names = [it["name"] for it in running if it["namespace"] == NAMESPACE]
    ends = (it.removeprefix(prefix) for it in names if it.startswith(prefix))
    indices = {int(it) for it in ends if it.isdecimal()}  # "eval/0" is of another pool
    found = {}
    for index in sorted(indices):
        with contextlib.suppress(ValueError):  # it ended meanwhile
            found[index] = ray.get_actor(f"{name}/{index}", namespace=NAMESPACE)
    return found


def end(actors: Iterable[ActorHandle]) -> None:
    """Kill actors; they do not restart."""
    for actor in actors:
        ray.kill(actor)
