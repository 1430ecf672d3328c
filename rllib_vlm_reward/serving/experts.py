"""The pools of several experts, which are asked at the same time.

ExpertPools.ask ─┬─ Member.send ─ RewardPool.submit ─┬─▶ PanelAnswer.result: Panel.answer
                 └─ Member.send ─ RewardPool.submit ─┘
"""

import functools
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ERRORS, PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.panel import Panel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.deployment import Demand, Group, living_nodes
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.request import Goals, Scores
from rllib_vlm_reward.serving.router import PendingScores

__all__ = ["ExpertPools", "Member", "PanelAnswer", "pool_of"]

_LOG = logging.getLogger(__name__)


def pool_of(name: str, expert: str) -> str:
    """Return the Ray name of an expert's pool.

    Args:
        name: the name of all pools together.
        expert: the name of the expert; empty without experts.

    Example:
        >>> pool_of("vlm", "large"), pool_of("vlm", "")
        ('vlm/large', 'vlm')
    """
    return f"{name}/{expert}" if expert else name


class Member:
    """One expert, as seen by a process that asks it.

    An expert that is late or dead is left out: nobody waits for it any more. Every ``timeout_s``
    seconds, one request is sent to it; when it has answered one, it is asked as before.

    Args:
        name: the name of the expert.
        connect: connects to its pool.
        timeout_s: its ``serving.timeout_s``.
        pool: its pool, if this process started it.
        clock: returns the time in seconds.

    Attributes:
        name: the name of the expert.
        error: why it is left out; None if it is not.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], RewardPool],
        timeout_s: float,
        pool: RewardPool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.error: PoolError | None = None
        self._connect, self._timeout_s, self._clock = connect, timeout_s, clock
        self._pool = pool
        self._asked_at = 0.0
        self._probe: PendingScores | None = None

    @property
    def pool(self) -> RewardPool:
        """The expert's pool.

        Raises:
            PoolError: it does not run.
        """
        if self._pool is None:
            self._pool = self._connect()
        return self._pool

    @property
    def is_connected(self) -> bool:
        """Whether this process is connected to the expert's pool."""
        return self._pool is not None

    def send(
        self, frames: Sequence[Frames], goals: Goals, scorer: Scorer, *, force: bool = False
    ) -> PendingScores | None:
        """Send a request, or none while the expert is left out.

        Args:
            frames: see :meth:`.RewardPool.submit`.
            goals: see :meth:`.RewardPool.submit`.
            scorer: the expert's scorer.
            force: also send it if the expert is left out, since nobody else is there.
        """
        waits = self._clock() - self._asked_at < self._timeout_s
        if self.error is not None and not self._is_back() and waits and not force:
            return None
        try:
            pending = self.pool.submit(frames, goals, scorer, checked=True)
        except PoolError as error:
            self._leave_out(error)
            return None
        if self.error is not None:
            self._asked_at, self._probe = self._clock(), pending
        return pending

    def read(self, pending: PendingScores | None, *, force: bool = False) -> Scores | None:
        """Return the scores of a request; None if the expert is late or dead.

        Args:
            pending: what :meth:`send` returned.
            force: also wait for it if the expert is left out.
        """
        if pending is None or (self.error is not None and not force and not pending.poll()):
            return None
        try:
            scores = pending.result()
        except PoolError as error:
            self._leave_out(error)
            return None
        if self.error is not None:
            self._return()
        return scores

    def _is_back(self) -> bool:
        """Return whether the expert has answered since it was left out."""
        if self._probe is not None and self._probe.poll():
            self.read(self._probe)
        return self.error is None

    def _return(self) -> None:
        _LOG.warning("expert %r answers again", self.name)
        self.error = self._probe = None

    def _leave_out(self, error: PoolError) -> None:
        if self.error is None:
            _LOG.warning("expert %r is left out until it answers again: %s", self.name, error)
        self.error, self._asked_at, self._probe = error, self._clock(), None
        if self._pool is not None:
            self._pool.abandon()


class PanelAnswer:
    """The answers of all experts to one request.

    Args:
        members: the experts.
        pending: what each was sent; None for an expert that is left out.
        goals: int64 ``[B]``, the index of each frame's goal.
        panel: the experts' scorers and their combiner.
    """

    def __init__(
        self,
        members: Sequence[Member],
        pending: Sequence[PendingScores | None],
        goals: Goals,
        panel: Panel,
    ) -> None:
        self._members, self._pending = members, pending
        self._goals, self._panel = goals, panel

    def result(self) -> Scores:
        """Wait for the experts, for each at most as long as :meth:`.Pending.result` does.

        Returns:
            float32 ``[B, 2 + E]``, see :meth:`.Panel.answer`. The score of an expert that did not
            answer in time is NaN, and the combination is that of the others.

        Raises:
            PoolError: no expert answered.
            FrameError, GoalError, RewardError: an expert raised it.
        """
        scores = np.full((len(self._goals), len(self._members)), np.nan, np.float32)
        answered = False
        for force in (False, True):
            for place, (member, pending) in enumerate(
                zip(self._members, self._pending, strict=True)
            ):
                found = _named(member.name, functools.partial(member.read, pending, force=force))
                if found is not None:
                    scores[:, place], answered = found, True
            if answered:
                return self._panel.answer(scores, self._goals)
        errors = [f"{member.name}: {member.error}" for member in self._members]
        raise PoolError("no expert answered. " + "; ".join(errors))


class ExpertPools:
    """One :class:`.RewardPool` for each expert, as one :class:`.RewardService`.

    Attributes:
        name: the name of all pools together; each is called ``NAME/EXPERT``.
    """

    def __init__(self, name: str, members: Sequence[Member]) -> None:
        self.name = name
        self._members = members

    @classmethod
    def start(cls, config: VLMRewardConfig, *, name: str, group: Group = None) -> "ExpertPools":
        """Start the pool of each expert; see :meth:`.RewardPool.start`.

        Raises:
            PoolError: the pools do not fit the cluster together.
            CheckpointError, GoalError, PoolError, RewardError: a pool cannot be started. The
                message names the expert.
        """
        members: list[Member] = []
        try:
            for expert, demand in _demands(config, group).items():
                reward, own = config.by_expert[expert], pool_of(name, expert)
                start = functools.partial(
                    RewardPool.start, reward, name=own, group=group, demand=demand
                )
                connect = functools.partial(RewardPool.connect, own, reward)
                pool = _named(expert, start)
                members.append(Member(expert, connect, reward.serving.timeout_s, pool))
        except BaseException:  # also after a KeyboardInterrupt
            for member in members:
                member.pool.close()
            raise
        return cls(name, members)

    @classmethod
    def connect(cls, name: str, config: VLMRewardConfig, run: str = "") -> "ExpertPools":
        """Connect to the running pools; one that does not run is left out until it does.

        Raises:
            PoolError: none of the pools runs.
        """
        members = []
        for expert, reward in config.by_expert.items():
            connect = functools.partial(RewardPool.connect, pool_of(name, expert), reward, run)
            members.append(Member(expert, connect, reward.serving.timeout_s))
        pools = cls(name, members)
        pools._each(lambda pool: None)
        return pools

    def ask(self, views: Sequence[Sequence[Frames]], goals: Goals, rater: Panel) -> PanelAnswer:
        """Send each expert its frames; see :meth:`.RewardService.ask`."""
        for force in (False, True):
            pending = [
                _named(
                    member.name,
                    functools.partial(
                        member.send, views[expert.view], goals, expert.scorer, force=force
                    ),
                )
                for member, expert in zip(self._members, rater.experts, strict=True)
            ]
            if any(each is not None for each in pending):
                break
        return PanelAnswer(self._members, pending, goals, rater)

    def forget(self, rater: Panel) -> None:
        """See :meth:`.RewardService.forget`."""
        for member, expert in zip(self._members, rater.experts, strict=True):
            if member.is_connected:
                member.pool.forget(expert.scorer)

    def choose_precisions(
        self, rater: Panel, frames: Callable[[str], Frames | None]
    ) -> dict[str, str]:
        """See :meth:`.RewardService.choose_precisions`."""
        chosen: dict[str, str] = {}
        for member, expert, key in zip(self._members, rater.experts, rater.keys, strict=True):
            choose = functools.partial(
                member.pool.choose_precision, expert.scorer, functools.partial(frames, key)
            )
            precision = _named(expert.name, choose)
            if precision is not None:
                chosen[key] = precision
        return chosen

    def describe(self) -> list[dict[str, Any]]:
        """See :meth:`.RewardService.describe`."""
        found = self._each(lambda pool: pool.describe())
        return [{**row, "expert": name} for name, rows in found.items() for row in rows]

    def stats(self) -> list[dict[str, Any]]:
        """See :meth:`.RewardService.stats`."""
        return [*itertools.chain(*self._each(lambda pool: pool.stats()).values())]

    def report_failure(self, text: str) -> None:
        """Store a failure in all pools, so that it is not lost with one of them."""
        self._each(lambda pool: pool.report_failure(text))

    def failures(self) -> list[str]:
        """Return the failures that any client reported, each text once."""
        found = self._each(lambda pool: pool.failures())
        return [*dict.fromkeys(itertools.chain(*found.values()))]

    def cancel(self) -> None:
        """See :meth:`.RewardPool.cancel`."""
        for pool in self._connected:
            pool.cancel()

    def close(self) -> None:
        """End the actors of all pools if this process started them."""
        for pool in self._connected:
            pool.close()

    @property
    def _connected(self) -> list[RewardPool]:
        return [member.pool for member in self._members if member.is_connected]

    def _each(self, work: Callable[[RewardPool], Any]) -> dict[str, Any]:
        """Do something with each pool that can be reached; return the results by expert.

        Raises:
            PoolError: none of them can be reached.
        """
        found, errors = {}, []
        for member in self._members:
            try:
                found[member.name] = work(member.pool)
            except PoolError as error:
                errors.append(f"{member.name}: {error}")
        if not found:
            raise PoolError("no expert can be reached. " + "; ".join(errors))
        return found


def _named(expert: str, work: Callable[[], Any]) -> Any:
    """Do something, and name the expert in its errors."""
    try:
        return work()
    except ERRORS as error:
        raise type(error)(f"expert {expert!r}: {error}") from error


def _demands(config: VLMRewardConfig, group: Group) -> dict[str, Demand]:
    """Return the resources of each expert's pool.

    Raises:
        PoolError: they do not fit the cluster together.
    """
    nodes = living_nodes()
    demands = {name: Demand.of(each, nodes) for name, each in config.by_expert.items()}
    if group is not None:  # nodes may have joined or left since it was requested
        given = [len(demand.bundles()) for demand in demands.values()]
        bundles = iter(group.bundle_specs[len(group.bundle_specs) - sum(given) :])
        return {
            name: Demand.granted([*itertools.islice(bundles, number)]) if number else demand
            for (name, demand), number in zip(demands.items(), given, strict=True)
        }
    for kind, amounts in (
        ("GPU", [demand.actors * demand.gpus for demand in demands.values()]),
        ("CPU", [demand.actors * demand.cpus for demand in demands.values()]),
    ):
        there = sum(node.get(kind, 0.0) for node in nodes)
        if sum(amounts) > there:
            asked = ", ".join(
                f"{name} {amount:g}" for name, amount in zip(demands, amounts, strict=True)
            )
            raise PoolError(
                f"experts: asked for {sum(amounts):g} {kind}s ({asked}), but the cluster has "
                f"{there:g}. Lower serving.num_{kind.lower()}s_per_actor (0.3 lets three actors "
                "share one) or num_actors of some experts, or add nodes."
            )
    return demands
