"""A pool of reward actors, which one process starts and any number of clients use."""

import hashlib
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.precision import TOLERANCE, check_drift
from rllib_vlm_reward.reward_model.scorer import Scorer, key_of
from rllib_vlm_reward.serving.autoscale import Autoscaler, start_autoscaler
from rllib_vlm_reward.serving.deployment import (
    Demand,
    Group,
    await_drift,
    await_loaded,
    await_scores,
    end,
    find,
    is_taken,
    launch,
)
from rllib_vlm_reward.serving.request import Goals, Request, Scores
from rllib_vlm_reward.serving.router import (
    ActorClient,
    Attempt,
    Pending,
    PendingScores,
    Roster,
    Router,
    fetch,
    none_left,
    present,
)

__all__ = ["PendingScores", "RewardPool"]

_LOG = logging.getLogger(__name__)
_CONTROL_TIMEOUT_S = 5.0
_BYTES_IN_FLIGHT = 2**27
_PROGRESS_S = 10.0
_TEXTS_AT_ONCE = 1024  # in one request, which must be answered within timeout_s


class RewardPool:
    """A client of the reward actors. It is not thread-safe, and cannot be pickled.

    Create it with :meth:`start` in the process that owns the actors, and with :meth:`connect` in
    other processes.

    Attributes:
        name: the name of the pool.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a red ball", "a blue key"])
        >>> pool = RewardPool.start(config, name="doc")  # doctest: +SKIP
        >>> pool.score(frames, goals, config.scorer)  # doctest: +SKIP
        array([0.49, 0.51], dtype=float32)
        >>> pool.close()  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str,
        actors: Sequence[ActorHandle],
        config: VLMRewardConfig,
        *,
        owner: bool,
        run: str = "",
    ) -> None:
        self.name = name
        self._config, self._owner = config, owner
        self._run = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8], "little")
        self._router = Router(pause_s=config.serving.timeout_s)
        self._roster = Roster(name, actors, self._router)
        self._autoscaler: Autoscaler | None = None
        self._node = ray.get_runtime_context().get_node_id()
        self._under_way: deque[tuple[PendingScores, int]] = deque()
        self._bytes_under_way = 0
        self._shared: dict[str, ray.ObjectRef] = {}
        self._pids: dict[int, int] = {}
        self._restarts: Counter[int] = Counter()
        self._closed = False

    @classmethod
    def start(
        cls,
        config: VLMRewardConfig,
        *,
        name: str,
        group: Group = None,
        demand: Demand | None = None,
    ) -> "RewardPool":
        """Create the actors ``name/0``, ``name/1``, ..., and wait until each has scored a frame.

        If this process is not connected to Ray, this connects to the cluster at ``RAY_ADDRESS``, or
        starts Ray on this machine. The actors end at :meth:`close`, or with this process, even if
        it is killed.

        Args:
            config: the reward's settings.
            name: a name that is unique in the cluster.
            group: a placement group whose last bundles are for the actors; None lets Ray place them
                on any node.
            demand: the resources of the actors; None finds them from the configuration and group.

        Returns:
            The pool.

        Raises:
            PoolError: the pool does not fit the cluster, its resources are in use, or the name is
                taken.
            CheckpointError: the model cannot be loaded, or differs between actors.
            GoalError: a goal does not suit the model.
            RewardError: the head or the precision does not suit the model.
        """
        if not ray.is_initialized():
            # Without "local", Ray would join a cluster of another program on this machine.
            ray.init(address=os.environ.get("RAY_ADDRESS", "local"))
        actors = launch(config, name, range(config.serving.num_actors), group, demand)
        try:
            await_loaded(actors, config)
            pool = cls(name, actors, config, owner=True)
            scorer = config.scorer.placed  # no env says yet where its agent is
            await_scores(actors, scorer, pool._share(scorer))
            if config.serving.max_actors is not None:
                pool._autoscaler = start_autoscaler(name, config, pool._is_connected)
        except BaseException:  # also end the actors after a KeyboardInterrupt
            end(actors)
            raise
        return pool

    @staticmethod
    def is_running(name: str) -> bool:
        """Return whether a pool with this name is running on the cluster."""
        return is_taken(name)

    @classmethod
    def connect(cls, name: str, config: VLMRewardConfig, run: str = "") -> "RewardPool":
        """Connect to a running pool.

        Args:
            name: the name of the pool.
            config: the reward's settings.
            run: identifies the run that sends the requests. Runs that share an actor take turns.

        Raises:
            PoolError: the actors do not run.
        """
        return cls(name, find(name, config.serving.num_actors), config, owner=False, run=run)

    @property
    def retries(self) -> int:
        """The number of requests that this client sent to a second actor."""
        return self._router.retries

    def submit(
        self,
        frames: Frames | Sequence[Frames],
        goals: Goals,
        scorer: Scorer,
        *,
        checked: bool = False,
    ) -> PendingScores:
        """Send one request to an actor, see :meth:`.LoadBalancer.choose`.

        If ``serving.max_in_flight`` requests or 128 MB of frames are unanswered, this first waits
        for the oldest request.

        Args:
            frames: uint8 ``[B, H, W, 3]``, or B arrays ``[H, W, 3]``; copied before this method
                returns.
            goals: int64 ``[B]``, the index of each frame's goal in ``scorer.goals``.
            scorer: the goals and the head; sent once, then identified by its fingerprint.
            checked: whether frames and goals have been checked as by :meth:`.Request.check`.

        Returns:
            The pending scores, float32 ``[B]``; ``[B, C]`` if the scorer has readouts.

        Raises:
            FrameError: see :meth:`.Request.check`.
            GoalError: see :meth:`.Request.check`.
            PoolError: the oldest request is late, no actor is left, or the pool is closed.
        """
        request = Request(frames, goals, scorer.fingerprint, self._run, scorer.columns)
        if not checked:
            request.check()
        self._update_roster()
        size = len(request) and len(request) * frames[0].nbytes
        self._make_room(size)
        shared = self._share(scorer)
        pending: PendingScores = self._ask(
            self._router.choose, lambda client: client.score(request, shared), frames=len(request)
        )
        self._under_way.append((pending, size))
        self._bytes_under_way += size
        return pending

    def ask(self, views: Sequence[Sequence[Frames]], goals: Goals, rater: Scorer) -> PendingScores:
        """Send the checked frames of a vector step; see :meth:`.RewardService.ask`."""
        return self.submit(views[0], goals, rater, checked=True)

    def forget(self, scorer: Scorer) -> None:
        """Release what was sent for a scorer that is no longer used; sent requests keep it."""
        self._shared.pop(scorer.fingerprint, None)

    def score(self, frames: Frames | Sequence[Frames], goals: Goals, scorer: Scorer) -> Scores:
        """Score frames and wait for the scores; see :meth:`submit` and :meth:`.Pending.result`."""
        return self.submit(frames, goals, scorer).result()

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed N > 0 texts: float32 ``[N, D]``, unit norm.

        All clients ask the same actor, which keeps the embeddings. While it takes long, a line of
        the log says every ten seconds how far it is.

        Raises:
            GoalError: a text is too long for the model.
            PoolError: no actor answers in time, or the pool is closed.
        """
        parts = [list(texts[i : i + _TEXTS_AT_ONCE]) for i in range(0, len(texts), _TEXTS_AT_ONCE)]
        embedded, said_at = list[npt.NDArray[np.float32]](), time.monotonic()
        for part in parts:
            embedded.append(self._embed(part))
            if time.monotonic() - said_at >= _PROGRESS_S:
                said_at = time.monotonic()
                done = sum(map(len, embedded))
                _LOG.warning("reward pool: embedded %s of %s texts", f"{done:,}", f"{len(texts):,}")
        return np.concatenate(embedded)

    def choose_precision(self, scorer: Scorer, frames: Callable[[], Frames | None]) -> str | None:
        """Choose the precision in which all actors encode the frames of a scorer, and log it.

        Give it to the scorer, as in ``dataclasses.replace(scorer, precision=...)``. Then actors
        that restart or start later compute in it too, on whatever device they run.

        Args:
            scorer: the goals and the head.
            frames: returns frames of the env, uint8 ``[P, H, W, 3]``, or None if there are none. It
                is called only if the actors' precision has to be measured.

        Returns:
            ``fp32``, ``bf16`` or ``fp16``. None leaves the choice to each actor: the configuration
            names a precision, or there is neither a frame nor a reason for fp32.

        Raises:
            PoolError: an actor died, or is late.
            RewardError: the head does not suit the model, or the configuration names a precision
                that changes the scores of these frames too much.
        """
        named = self._config.serving.precision
        if named != "auto":
            played = None if named == "fp32" else frames()
            if played is not None and len(played):
                actor = next(iter(self._roster.actors.values()))
                drift = await_drift(actor, played, self._share(scorer))
                check_drift(drift or 0.0, named, scorer.head, f"{len(played)} frames of the env")
            return None
        fastest = sorted({str(actor["precision"]) for actor in self.describe()})
        if not fastest:  # all actors are restarting
            return None
        if fastest == ["fp32"]:
            return "fp32"
        if len(fastest) > 1:
            _LOG.warning(
                "precision auto: fp32, since the actors' devices differ (%s) and a score must not "
                "depend on the actor. Set serving.precision if it may.",
                ", ".join(fastest),
            )
            return "fp32"
        played = frames()
        if played is None or not len(played):
            return None
        actor = next(iter(self._roster.actors.values()))
        drift = await_drift(actor, played, self._share(scorer))
        if drift is None:
            return None
        chosen = fastest[0] if drift <= TOLERANCE else "fp32"
        _LOG.log(
            logging.INFO if chosen == fastest[0] else logging.WARNING,
            "precision auto: %s for %s. %s changes its scores by %.4f compared with fp32 (mean "
            "over %d frames of the env of the largest change; at most %g is accepted).",
            *(chosen, scorer.head, fastest[0], drift, len(played), TOLERANCE),
        )
        return chosen

    def choose_precisions(
        self, rater: Scorer, frames: Callable[[str], Frames | None]
    ) -> dict[str, str]:
        """Choose the precision of a scorer; see :meth:`.RewardService.choose_precisions`."""
        key = key_of(rater)
        chosen = self.choose_precision(rater, lambda: frames(key))
        return {} if chosen is None else {key: chosen}

    def describe(self) -> list[dict[str, Any]]:
        """Return a description of each actor, except of actors that are restarting.

        See :meth:`.RewardActor.describe`: device, node, pid, embed_dim and so on.
        """
        return list(self._ask_all("describe").values())

    def stats(self) -> list[dict[str, Any]]:
        """Return the numbers of each actor, see :meth:`.RewardActor.stats`.

        Each row also has ``actor``, the actor's name; ``up``, which is False while the actor
        restarts, and then the other numbers are missing; and ``restarts``, the number of restarts
        that this client noticed between two calls.

        Raises:
            PoolError: all actors have ended.
        """
        answers = self._ask_all("stats")
        rows = []
        for i in sorted(self._roster.actors):
            answer = answers.get(i, {})
            pid = answer.get("pid", self._pids.get(i))
            self._restarts[i] += self._pids.get(i) not in (None, pid)
            self._pids[i] = pid
            state = {"actor": f"{self.name}/{i}", "up": i in answers, "restarts": self._restarts[i]}
            rows.append({**state, **answer})
        return rows

    def report_failure(self, text: str) -> None:
        """Store a failure for the driver, since it never gets exceptions of remote env runners.

        All actors keep the text in memory, so that it is not lost if one of several restarts. An
        actor that does not answer within 5 seconds does not get it.
        """
        self._ask_all("report_failure", text)

    def failures(self) -> list[str]:
        """Return the failures that any client reported, each text once.

        Raises:
            PoolError: all actors have ended.
        """
        answers = self._ask_all("failures").values()
        return list(dict.fromkeys(text for texts in answers for text in texts))

    def cancel(self) -> None:
        """Cancel all requests that are not answered. For a process that is about to end.

        A process that Ray ends waits first for the answers to its calls (Ray 2.60). It would wait
        for ever if an actor's node is lost, and no other node has room for the actor.
        """
        self._router.cancel()
        self._roster.cancel()

    def abandon(self) -> None:
        """Give up the requests that are not answered; reading their answers is an error."""
        for pending, _ in self._under_way:
            if not pending.poll():
                pending.abandon()
        self._under_way.clear()
        self._bytes_under_way = 0

    def close(self) -> None:
        """End the actors if this process started them. Idempotent.

        Ray 2.60 does not wait for the end, so another client's last request may still be answered.
        """
        if self._autoscaler is not None:
            self._autoscaler.close()
        if self._owner and not self._closed and self._is_connected():
            end(present(self.name).values())
            while self._autoscaler is not None and self._autoscaler.join(timeout_s=1.0):
                end(present(self.name).values())  # the autoscaler may have started one
            end(present(self.name).values())
        self._closed = True
        self._router.close()

    def __reduce__(self) -> NoReturn:
        raise PoolError(
            f"reward pool {self.name!r}: a pool cannot be pickled, since its actors end with the "
            "cluster. Pickle its name, and use RewardPool.connect."
        )

    def _is_connected(self) -> bool:
        # After a new ray.init in this process, another pool may have the same name.
        if not ray.is_initialized():
            return False
        return bool(ray.get_runtime_context().get_node_id() == self._node)

    def _update_roster(self) -> None:
        if self._config.serving.max_actors is not None:
            self._roster.update()

    def _make_room(self, size: int) -> None:
        """Wait for the oldest requests until a request of ``size`` bytes may be sent."""
        while self._under_way and self._under_way[0][0].poll():
            self._take_oldest()
        while self._under_way and (
            len(self._under_way) >= self._config.serving.max_in_flight
            or size + self._bytes_under_way > _BYTES_IN_FLIGHT
        ):
            self._take_oldest().wait()

    def _take_oldest(self) -> PendingScores:
        pending, size = self._under_way.popleft()
        self._bytes_under_way -= size
        return pending

    def _share(self, scorer: Scorer) -> ray.ObjectRef:
        if scorer.fingerprint not in self._shared:
            embeddings = self.embed_texts((*scorer.goals.statements, *scorer.words))
            self._shared[scorer.fingerprint] = ray.put((scorer, embeddings))
        return self._shared[scorer.fingerprint]

    def _embed(self, texts: list[str]) -> npt.NDArray[np.float32]:
        pending: Pending[npt.NDArray[np.float32]] = self._ask(
            self._router.first, lambda client: client.call("embed_texts", texts), frames=0
        )
        return pending.result()

    def _ask(
        self,
        choose: Callable[[Collection[int]], int | None],
        send: Callable[[ActorClient], Attempt[Any]],
        *,
        frames: int,
    ) -> Pending[Any]:
        if self._closed:
            raise PoolError(
                f"reward pool {self.name!r}: got a request after close(). Close it after the last "
                "request."
            )
        return Pending(
            self._router, choose, send, frames=frames, timeout_s=self._config.serving.timeout_s
        )

    def _ask_all(self, method: str, *args: Any) -> dict[int, Any]:
        """Call a control method of all actors; return the answers by actor, if they come."""
        self._update_roster()
        refs = {getattr(actor, method).remote(*args): i for i, actor in self._roster.actors.items()}
        ready, late = ray.wait(list(refs), num_returns=len(refs), timeout=_CONTROL_TIMEOUT_S)
        for ref in late:
            ray.cancel(ref)  # or this process could not end, see cancel
        answers, dead = {}, 0
        for ref in ready:
            try:
                answers[refs[ref]] = fetch(ref)
            except RayActorError:
                dead += 1
        if dead == len(self._roster.actors):
            raise none_left()
        return answers
