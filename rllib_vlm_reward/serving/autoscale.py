"""More actors while all are busy, fewer while they idle, within bounds."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence

from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.deployment import await_loaded, end, launch
from rllib_vlm_reward.serving.router import fetch, present

__all__ = ["Autoscaler", "Need", "watch"]

_LOG = logging.getLogger(__name__)
_LOOK_S = 5.0
_ANSWER_S = 5.0
_BUSY, _IDLE = 0.9, 0.5
_LOOKS_UP, _LOOKS_DOWN = 2, 12  # a model loads in seconds, and is not to be loaded over and over


@dataclasses.dataclass
class Need:
    """How many actors the load asks for.

    Grows by one where the actors were busy for nine tenths of the last two looks; shrinks by one
    where one fewer would have been busy for less than half of the last twelve.

    Args:
        least, most: bounds.

    Example:
        >>> need = Need(1, 4)
        >>> [need.after([share]) for share in (0.95, 0.97)]
        [1, 2]
    """

    least: int
    most: int

    def __post_init__(self) -> None:
        self._busy = self._idle = 0

    def after(self, shares: Sequence[float]) -> int:
        """Return the number of actors to have after a look.

        Args:
            shares: of each actor that is up, the part of the time since the last look that it was
                busy, in [0, 1].
        """
        count, load = len(shares), sum(shares)
        self._busy = self._busy + 1 if load >= _BUSY * count else 0
        self._idle = self._idle + 1 if load < _IDLE * (count - 1) else 0
        if self._busy >= _LOOKS_UP and count < self.most:
            self._busy = 0
            return count + 1
        if self._idle >= _LOOKS_DOWN and count > self.least:
            self._idle = 0
            return count - 1
        return count


class Autoscaler:
    """Looks at a pool's load every few seconds, in a thread of its own.

    Args:
        need: how many actors there should be.
        look: returns each actor's busy seconds since its process began, by its index.
        start: makes the actor of an index, and returns when it serves.
        stop: ends it.
        alive: whether there is a cluster to look at; the thread ends when there is none.
    """

    def __init__(
        self,
        need: Need,
        look: Callable[[], dict[int, float]],
        start: Callable[[int], None],
        stop: Callable[[int], None],
        alive: Callable[[], bool],
    ) -> None:
        self._need, self._look, self._start, self._stop = need, look, start, stop
        self._alive = alive
        self._seen: dict[int, float] = {}
        self._seen_at = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="autoscaler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; an actor that is being started is given up when it ends. Idempotent."""
        self._ended.set()

    def join(self, timeout_s: float) -> bool:
        """Wait so long; return whether an actor is still being started."""
        self._thread.join(timeout_s)
        return self._thread.is_alive()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S) and self._alive():
            try:
                self._adapt()
            except Exception as error:  # the pool serves on with the actors that it has
                _LOG.warning("reward pool: it could not be scaled. %s", error)

    def _adapt(self) -> None:
        now, at = self._look(), time.monotonic()
        if not now:
            return
        # An actor that restarted counts from zero again.
        passed = at - self._seen_at
        shares = [max(0.0, now[i] - self._seen.get(i, now[i])) / passed for i in now]
        self._seen, self._seen_at = now, at
        wanted = self._need.after(shares)
        if wanted > len(now):
            index = next(i for i in range(wanted) if i not in now)
            self._start(index)
            _LOG.info("reward pool: %d actors, since all were busy.", wanted)
        elif wanted < len(now):
            self._stop(max(now))
            _LOG.info("reward pool: %d actors, since they idled.", wanted)


def watch(name: str, config: VLMRewardConfig, alive: Callable[[], bool]) -> Autoscaler:
    """Keep a running pool between ``config.num_actors`` and ``config.max_actors``.

    The actors that it starts end with this process, as the others do.

    Args:
        name: of the pool.
        config: of the run.
        alive: see :class:`Autoscaler`.
    """

    started: dict[int, ActorHandle] = {}  # Ray ends an actor that nobody holds

    def look() -> dict[int, float]:
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
            if alive():  # or Ray 2.60 would start a cluster, to end an actor on it
                end([actor])
            raise
        started[index] = actor

    def stop(index: int) -> None:
        end([started.pop(index)])

    assert config.max_actors is not None
    need = Need(config.num_actors, config.max_actors)
    return Autoscaler(need, look, start, stop, alive)
