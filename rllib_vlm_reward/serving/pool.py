"""N reward actors as one: started or found by name, asked by any number of clients."""

import hashlib
import os
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
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.autoscale import Autoscaler, watch
from rllib_vlm_reward.serving.deployment import (
    Group,
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

_CONTROL_TIMEOUT_S = 5.0
_BYTES_IN_FLIGHT = 2**27
_TEXTS_AT_ONCE = 1024  # within one time limit


class RewardPool:
    """One client's view of the reward actors: for one thread, and never pickled.

    Made by :meth:`start` in the process that owns the actors, by :meth:`connect` in the others.

    Example:
        >>> config = VLMRewardConfig(encoder="small", goals=["a red ball", "a blue key"])
        >>> pool = RewardPool.start(config, name="doc")  # doctest: +SKIP
        >>> pool.score(frames, goals, Scorer.from_config(config))  # doctest: +SKIP
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
        self._router = Router(pause_s=config.timeout_s)
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
    def start(cls, config: VLMRewardConfig, *, name: str, group: Group = None) -> "RewardPool":
        """Create the actors ``name/0``, ``name/1``, ..., and wait until each has scored a frame.

        Joins the Ray that this process is connected to; else the cluster of ``RAY_ADDRESS``; else
        starts one on this machine. The actors end at :meth:`close`, or with this process, however
        it ends. They get the last bundles of a ``group``; without one, room on any node.

        Raises:
            PoolError: the pool does not fit the cluster, finds no room in it, or the name is taken.
            CheckpointError: the model cannot be loaded, or differs between actors.
            GoalError, RewardError: the goals and the head do not suit the model.
        """
        if not ray.is_initialized():
            # "local", or Ray joins any cluster that another program left on this machine.
            ray.init(address=os.environ.get("RAY_ADDRESS", "local"))
        actors = launch(config, name, range(config.num_actors), group)
        try:
            await_loaded(actors, config)
            pool = cls(name, actors, config, owner=True)
            scorer = Scorer.from_config(config)
            await_scores(actors, scorer, pool._share(scorer))
            if config.max_actors is not None:
                pool._autoscaler = watch(name, config, pool._is_connected)
        except BaseException:  # an interrupt, too, leaves no actor behind
            end(actors)
            raise
        return pool

    @staticmethod
    def is_running(name: str) -> bool:
        """Return whether a pool of this name runs on the cluster."""
        return is_taken(name)

    @classmethod
    def connect(cls, name: str, config: VLMRewardConfig, run: str = "") -> "RewardPool":
        """Find a running pool by its name.

        Args:
            name: of the pool.
            config: what the rewards are.
            run: whose requests these will be: those of several runs take turns at an actor.

        Raises:
            PoolError: its actors are not there.
        """
        return cls(name, find(name, config.num_actors), config, owner=False, run=run)

    @property
    def retries(self) -> int:
        """Requests that this client sent to a second actor."""
        return self._router.retries

    def submit(
        self,
        frames: Frames | Sequence[Frames],
        goals: Goals,
        scorer: Scorer,
        *,
        checked: bool = False,
    ) -> PendingScores:
        """Send one request to the actor with the least to do.

        With ``config.max_in_flight`` requests or 128 MB of frames unanswered, waits for the oldest
        first.

        Args:
            frames: uint8 ``[B, H, W, 3]``, or B of ``[H, W, 3]``; copied once, before this
                returns.
            goals: int64 ``[B]``, each frame's goal in ``scorer.goals``.
            scorer: the goals and the head; sent once, then named by its fingerprint.
            checked: whether the caller has checked frames and goals as :meth:`.Request.check` does.

        Returns:
            the scores to come, float32 ``[B]``.

        Raises:
            FrameError, GoalError: see :meth:`.Request.check`.
            PoolError: the oldest request is late, no actor is left, or the pool is closed.
        """
        request = Request(frames, goals, scorer.fingerprint, self._run)
        if not checked:
            request.check()
        self._look_for_actors()
        size = len(request) and len(request) * frames[0].nbytes
        self._make_room(size)
        shared = self._share(scorer)
        pending: PendingScores = self._ask(
            self._router.choose, lambda client: client.score(request, shared), frames=len(request)
        )
        self._under_way.append((pending, size))
        self._bytes_under_way += size
        return pending

    def score(self, frames: Frames | Sequence[Frames], goals: Goals, scorer: Scorer) -> Scores:
        """Score frames and wait: see :meth:`submit` and :meth:`Pending.result`."""
        return self.submit(frames, goals, scorer).result()

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed N > 0 texts: float32 ``[N, D]``, unit norm.

        All clients ask the same actor, which keeps what it embedded.

        Raises:
            PoolError: no actor answers in time, or the pool is closed.
        """
        parts = [list(texts[i : i + _TEXTS_AT_ONCE]) for i in range(0, len(texts), _TEXTS_AT_ONCE)]
        return np.concatenate([self._embed(part) for part in parts])

    def describe(self) -> list[dict[str, Any]]:
        """Return what each actor runs and where; one that is restarting is left out.

        See :meth:`RewardActor.describe`: device, node, pid, embed_dim and so on.
        """
        return list(self._ask_all("describe").values())

    def stats(self) -> list[dict[str, Any]]:
        """Return each actor's numbers: see :meth:`RewardActor.stats`.

        Also ``actor``, its name; ``up``, False (and no other numbers) while it restarts; and
        ``restarts``, those that this client saw between two calls.

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
        """Leave a failure for the driver, which an exception in a remote env runner never reaches.

        Every actor keeps it in memory, so of several it outlives the restart of one.
        """
        self._ask_all("report_failure", text)

    def failures(self) -> list[str]:
        """Return what was reported by any client, each text once.

        Raises:
            PoolError: all actors have ended.
        """
        answers = self._ask_all("failures").values()
        return list(dict.fromkeys(text for texts in answers for text in texts))

    def close(self) -> None:
        """End the actors, if this process started them. Idempotent.

        Ray 2.60 kills without waiting, so another client's last request may still be answered.
        """
        if self._autoscaler is not None:
            self._autoscaler.close()
        if self._owner and not self._closed and self._is_connected():
            end(present(self.name).values())
            while self._autoscaler is not None and self._autoscaler.join(timeout_s=1.0):
                end(present(self.name).values())  # one was started meanwhile
            end(present(self.name).values())
        self._closed = True
        self._router.close()

    def __reduce__(self) -> NoReturn:
        raise PoolError(
            f"reward pool {self.name!r}: a pool cannot be pickled, since its actors' handles die "
            "with the cluster. Pickle its name, and look it up with RewardPool.connect."
        )

    def _is_connected(self) -> bool:
        # Another Ray of this process may have another pool of this name.
        if not ray.is_initialized():
            return False
        return bool(ray.get_runtime_context().get_node_id() == self._node)

    def _look_for_actors(self) -> None:
        if self._config.max_actors is not None:
            self._roster.look()

    def _make_room(self, size: int) -> None:
        """Wait for the oldest requests until this one, of so many bytes, may be under way too."""
        while self._under_way and self._under_way[0][0].poll():
            self._take_oldest()
        while self._under_way and (
            len(self._under_way) >= self._config.max_in_flight
            or size + self._bytes_under_way > _BYTES_IN_FLIGHT
        ):
            self._take_oldest().wait()

    def _take_oldest(self) -> PendingScores:
        pending, size = self._under_way.popleft()
        self._bytes_under_way -= size
        return pending

    def _share(self, scorer: Scorer) -> ray.ObjectRef:
        if scorer.fingerprint not in self._shared:
            embeddings = self.embed_texts(scorer.goals.statements)
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
                f"reward pool {self.name!r}: got a request after close(). Close it at the end."
            )
        return Pending(self._router, choose, send, frames=frames, timeout_s=self._config.timeout_s)

    def _ask_all(self, method: str, *args: Any) -> dict[int, Any]:
        """Call a control method of every actor; answers by actor, without those that restart."""
        self._look_for_actors()
        refs = {getattr(it, method).remote(*args): i for i, it in self._roster.actors.items()}
        ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=_CONTROL_TIMEOUT_S)
        answers, dead = {}, 0
        for ref in ready:
            try:
                answers[refs[ref]] = fetch(ref)
            except RayActorError:
                dead += 1
        if dead == len(self._roster.actors):
            raise none_left()
        return answers
