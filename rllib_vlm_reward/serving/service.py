"""What the connectors ask: one pool, or the pools of several experts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.deployment import Demand, Group, is_taken, living_nodes
from rllib_vlm_reward.serving.experts import ExpertPools, pool_of
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.request import Goals, Scores

__all__ = [
    "Answer",
    "RewardService",
    "bundles_of",
    "connect_service",
    "embedding_pool",
    "is_service_running",
    "start_service",
]


class Answer(Protocol):
    """Scores that are on their way."""

    def result(self) -> Scores:
        """Wait for the scores: float32 ``[B]``, or ``[B, C]`` with C numbers for each frame."""


class RewardService(Protocol):
    """Scores frames: a :class:`.RewardPool`, or :class:`.ExpertPools`.

    Attributes:
        name: the name under which other processes connect to it.
    """

    name: str

    def ask(self, views: Sequence[Sequence[Frames]], goals: Goals, rater: Any) -> Answer:
        """Send the checked frames of a vector step.

        Args:
            views: B frames of each frame source, ``config.sources``; copied before this returns.
            goals: int64 ``[B]``, the index of each frame's goal.
            rater: :attr:`.VLMRewardConfig.rater`: a scorer, or with experts their panel.
        """

    def forget(self, rater: Any) -> None:
        """Release what was sent for a rater that is no longer used."""

    def choose_precisions(
        self, rater: Any, frames: Callable[[str], Frames | None]
    ) -> dict[str, str]:
        """Choose the precision of each scorer, see :meth:`.RewardPool.choose_precision`.

        Args:
            rater: a scorer, or a panel.
            frames: returns the env's frames for a scorer, by :func:`.scorer.key_of`.

        Returns:
            The precisions, by the same keys.
        """

    def describe(self) -> list[dict[str, Any]]:
        """See :meth:`.RewardPool.describe`. With experts, each row also has ``expert``."""

    def stats(self) -> list[dict[str, Any]]:
        """See :meth:`.RewardPool.stats`."""

    def report_failure(self, text: str) -> None:
        """See :meth:`.RewardPool.report_failure`."""

    def failures(self) -> list[str]:
        """See :meth:`.RewardPool.failures`."""

    def cancel(self) -> None:
        """See :meth:`.RewardPool.cancel`."""

    def close(self) -> None:
        """See :meth:`.RewardPool.close`."""


def start_service(config: VLMRewardConfig, *, name: str, group: Group = None) -> RewardService:
    """Start what a reward needs; see :meth:`.RewardPool.start`.

    Args:
        config: the reward.
        name: a name that is unique in the cluster.
        group: a placement group whose last bundles are :func:`bundles_of` the reward.
    """
    kind = ExpertPools if config.experts else RewardPool
    return kind.start(config, name=name, group=group)


def connect_service(name: str, config: VLMRewardConfig, run: str = "") -> RewardService:
    """Connect to a running service; see :meth:`.RewardPool.connect`."""
    kind = ExpertPools if config.experts else RewardPool
    return kind.connect(name, config, run)


def is_service_running(name: str, config: VLMRewardConfig) -> bool:
    """Return whether the pools of a reward run under this name.

    Raises:
        PoolError: only some of them run.
    """
    running = [is_taken(pool_of(name, expert)) for expert in config.by_expert]
    if any(running) and not all(running):
        missing = [
            expert for expert, runs in zip(config.by_expert, running, strict=True) if not runs
        ]
        raise PoolError(
            f"serving.pool_name: the pool {name!r} runs, but not for the experts {missing}. Start "
            "it with the same experts, or choose another pool_name."
        )
    return all(running)


def embedding_pool(name: str, config: VLMRewardConfig) -> str:
    """Return the name of the pool whose encoder embeds goals for the policy."""
    return pool_of(name, next(iter(config.by_expert)))


def bundles_of(config: VLMRewardConfig) -> list[Mapping[str, float]]:
    """Return a placement group's bundles, one for each actor that reserves CPUs or GPUs."""
    nodes = living_nodes()
    demands = (Demand.of(each, nodes) for each in config.by_expert.values())
    return [bundle for demand in demands for bundle in demand.bundles()]
