"""Starts actors while all are busy, and stops actors while they are idle, within bounds."""

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.deployment import await_loaded, end, launch
from rllib_vlm_reward.serving.router import fetch, present

__all__ = ["Autoscaler", "Need", "start_autoscaler"]

_LOG = logging.getLogger(__name__)
_CHECK_S = 5.0
_ANSWER_S = 5.0
_BUSY, _IDLE = 0.9, 0.5
_CHECKS_UP, _CHECKS_DOWN = 2, 12  # loading takes seconds, so a model should not be loaded often


@dataclasses.dataclass
class Need:
    """Computes how many actors the load needs.

    The number grows by one if the actors were busy for at least nine tenths of the time at the last
    two checks. It shrinks by one if one actor less would have been busy for less than half of the
    time at the last twelve checks.

    Args:
        least: smallest number of actors.
        most: largest number of actors.

    Example:
        >>> need = Need(1, 4)
        >>> [need.after([share]) for share in (0.95, 0.97)]
        [1, 2]
    """

    least: int
    most: int

    def __post_init__(self) -> None:
        self._busy = self._idle = 0
        self._last: dict[int, float] = {}
        self._last_at = -math.inf

    def check(self, busy_seconds: Mapping[int, float], now: float) -> int:
        """Return the number of actors that are needed.

        Args:
            busy_seconds: each running actor's busy seconds since its process began, by its index.
            now: the time in seconds, on any clock.
        """
        # The busy seconds of an actor that restarted begin at zero again.
        passed = now - self._last_at
        shares = [max(0.0, s - self._last.get(i, s)) / passed for i, s in busy_seconds.items()]
        self._last, self._last_at = dict(busy_seconds), now
        return self.after(shares)

    def after(self, shares: Sequence[float]) -> int:
        """Return the number of actors that are needed after a check.

        Args:
            shares: for each running actor, the share of the time since the last check in which it
                was busy, in [0, 1].
        """
        count, load = len(shares), sum(shares)
        self._busy = self._busy + 1 if load >= _BUSY * count else 0
        self._idle = self._idle + 1 if load < _IDLE * (count - 1) else 0
        if self._busy >= _CHECKS_UP and count < self.most:
            self._busy = 0
            return count + 1
        if self._idle >= _CHECKS_DOWN and count > self.least:
            self._idle = 0
            return count - 1
        return count


class Autoscaler:
    """Checks a pool's load every few seconds, in a separate thread.

    Args:
        need: computes how many actors are needed.
        busy_seconds: returns each actor's busy seconds since its process began, by its index.
        start: starts the actor of an index, and returns when the actor is ready.
        stop: ends the actor of an index.
        alive: returns whether the cluster is still there; if not, the thread ends.
    """

    def __init__(
        self,
        need: Need,
        busy_seconds: Callable[[], dict[int, float]],
        start: Callable[[int], None],
        stop: Callable[[int], None],
        alive: Callable[[], bool],
    ) -> None:
        self._need, self._busy_seconds = need, busy_seconds
        self._start, self._stop = start, stop
        self._alive = alive
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="autoscaler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the checks. An actor that is being started may still appear. Idempotent."""
        self._ended.set()

    def join(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` seconds for the thread; return whether it is still running."""
        self._thread.join(timeout_s)
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.wait(_CHECK_S) and self._alive():
            try:
                self._adapt()
            except Exception as error:  # the pool still works with its present actors
                _LOG.warning("reward pool: the number of actors could not be changed. %s", error)

    def _adapt(self) -> None:
        now = self._busy_seconds()
        if not now:
            return
        wanted = self._need.check(now, time.monotonic())
        if wanted > len(now):
            index = next(i for i in range(wanted) if i not in now)
            self._start(index)
            _LOG.info("reward pool: now %d actors, since all were busy.", wanted)
        elif wanted < len(now):
            self._stop(max(now))
            _LOG.info("reward pool: now %d actors, since they were idle.", wanted)


def start_autoscaler(name: str, config: VLMRewardConfig, alive: Callable[[], bool]) -> Autoscaler:
    """Scale a running pool between ``serving.num_actors`` and ``serving.max_actors``.

    The actors that it starts end with this process.

    Args:
        name: the name of the pool.
        config: the reward's settings.
        alive: see :class:`Autoscaler`.

    Returns:
        The running autoscaler.
    """

    started: dict[int, ActorHandle] = {}  # Ray ends an actor without a handle

    def busy_seconds() -> dict[int, float]:
        actors = present(name)
        try:
            stats = fetch([actor.stats.remote() for actor in actors.values()], _ANSWER_S)
        except (GetTimeoutError, RayActorError) as error:
            raise PoolError(f"reward pool {name!r}: an actor does not answer. {error}") from error
        return {i: row["busy_seconds"] for i, row in zip(actors, stats, strict=True)}

    def start(index: int) -> None:
        (actor,) = launch(config, name, [index])
        try:
            await_loaded([actor], config)
        except BaseException:
            if alive():  # otherwise Ray 2.60 would start a new cluster
                end([actor])
            raise
        started[index] = actor

    def stop(index: int) -> None:
        end([started.pop(index)])

    assert config.serving.max_actors is not None
    need = Need(config.serving.num_actors, config.serving.max_actors)
    return Autoscaler(need, busy_seconds, start, stop, alive)
