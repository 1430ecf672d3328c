"""The class of the reward actors, which score frames on one device."""

import os
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import ray
import torch

from rllib_vlm_reward.config import ServingConfig
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.batch_size import best_batch_size
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.reward_model.spec import absolute_spec
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.lanes import Lanes, cores, use_threads
from rllib_vlm_reward.serving.meter import Meter
from rllib_vlm_reward.serving.request import Answer, Goals, Request, Scores
from rllib_vlm_reward.serving.router import NAMESPACE
from rllib_vlm_reward.serving.shared_memory.protocol import SHAREABLE, SharedMemoryError
from rllib_vlm_reward.serving.shared_memory.server import SharedMemoryServer

__all__ = ["CONTROL", "RewardActor"]

CONTROL = "control"
_MAX_SCORERS = 64
_MOST_FAILURES = 200  # of env runners; older ones are forgotten
_FIRST_BATCH_SIZE = 64  # until best_batch_size has measured a better one
Method = TypeVar("Method", bound=Callable[..., Any])


def _control(method: Method) -> Method:
    """Run a method in a separate group of threads, so that it never waits for scoring."""
    marked: Method = ray.method(concurrency_group=CONTROL)(method)
    return marked


class RewardActor:
    """Scores frames for any number of clients. Every request can be sent to another actor instead.

    The model is loaded by the first method that needs it, not by the constructor, so that an error
    reaches the caller. An error in the constructor would make Ray restart the actor again and
    again.

    Requests arrive in shared memory from clients on the same node, and through Ray from other
    nodes. Each Ray call waits in a separate thread while the batcher joins the waiting requests.

    Args:
        encoder: see :func:`.load_encoder`.
        serving: the settings of the pool, of which an actor reads ``precision``,
            ``max_batch_size`` and ``cache_frames``.
        num_cpus: number of CPUs that Ray reserved, rounded down to whole cores, at least 1; 0 uses
            all cores of the node.
        folder: the folder from which a relative path in ``encoder`` is read. Ray's workers do not
            work in the driver's folder if Ray was started in another one.
    """

    def __init__(
        self,
        encoder: str,
        serving: ServingConfig,
        *,
        num_cpus: float,
        folder: str = "",
    ) -> None:
        self._spec, self._serving, self._folder = encoder, serving, folder
        context = ray.get_runtime_context()
        self._name = context.get_actor_name() or "unnamed"  # Ray Data's actors have no name
        self._node = context.get_node_id()
        self._device = "cuda" if context.get_accelerator_ids().get("GPU") else "cpu"
        self._lanes = Lanes.on(
            self._device, max(1, int(num_cpus)) if num_cpus else _node_cores(self._node)
        )
        self._model: RewardModel | None = None
        self._loading = threading.Lock()
        self._scorers: OrderedDict[str, Scorer] = OrderedDict()
        self._scorers_lock = threading.Lock()
        self._failures: deque[str] = deque(maxlen=_MOST_FAILURES)
        self._peers: dict[int, ray.ObjectRef] = {}
        self._peers_lock = threading.Lock()
        self._meter = Meter(self._name, self._lanes.count)
        self._batcher = Batcher(
            self._forward,
            max_batch_size=serving.max_batch_size or _FIRST_BATCH_SIZE,
            lanes=self._lanes.count,
            splits=self._lanes.splits,
            lane=self._lanes.lane,
            observe=self._meter.record,
        )
        self._server = SharedMemoryServer(self._serve, self._batcher) if SHAREABLE else None

    def score(self, request: Request, scorer: Sequence[ray.ObjectRef]) -> Answer:
        """Score one request, together with other waiting requests.

        Args:
            request: a checked request (:meth:`.Request.check`) whose frames are one array. The
                array is read-only if it is in Ray's shared memory.
            scorer: a list with one reference to the scorer and its texts' embeddings. In a list,
                Ray does not fetch it; it is fetched only if the scorer's fingerprint is new.

        Returns:
            The scores, float32 ``[B]``, or ``[B, C]`` if the scorer has readouts, and the number
            of waiting frames.

        Raises:
            CheckpointError: the model cannot be loaded.
            FrameError: see :meth:`.RewardModel.score`.
            GoalError: see :meth:`.RewardModel.score`.
            RewardError: see :meth:`.RewardModel.score`.
            PoolError: Ray assigned a GPU, but torch cannot use it.
        """
        found = self._scorer(request.fingerprint) or self._admit(request.fingerprint, scorer[0])
        scores = self._batcher.submit(request, found).result()
        return Answer(scores, self._batcher.waiting)

    @_control
    def location(self) -> tuple[str, str | None]:
        """Return Ray's id of the node, and the address of the shared-memory server or None."""
        return self._node, self._server.address if self._server else None

    @_control
    def peers(self, count: int) -> list[ray.ObjectRef]:
        """Return a list with one reference to the handles of the pool's first ``count`` actors.

        Clients ask one actor, so that they do not all look up all names at the head node. A node
        fetches the handles once for all of its clients.

        Raises:
            ValueError: one of these actors does not run.
        """
        pool = self._name.rpartition("/")[0]
        with self._peers_lock:
            if count not in self._peers:
                names = [f"{pool}/{i}" for i in range(count)]
                found = [ray.get_actor(name, namespace=NAMESPACE) for name in names]
                self._peers[count] = ray.put(found)
            return [self._peers[count]]

    @_control
    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed N texts: float32 ``[N, D]``, unit norm."""
        use_threads(self._lanes.cores)
        return self._loaded_model().embed_texts(texts)

    @_control
    def drift(self, frames: Frames, scorer: Sequence[ray.ObjectRef]) -> float | None:
        """Return how far the device's precision moves scores, see :meth:`.RewardModel.drift`.

        Args:
            frames: uint8 ``[P, H, W, 3]``, encoded in batches that the device's memory holds.
            scorer: see :meth:`score`.
        """
        use_threads(self._lanes.cores)
        known, embeddings = ray.get(scorer[0])
        model = self._loaded_model()
        model.admit(known.goals, embeddings, known.words)
        size = self._batcher.max_batch_size
        batches = [frames[start : start + size] for start in range(0, len(frames), size)]
        return model.drift(batches, known)

    @_control
    def describe(self) -> dict[str, Any]:
        """Load the model if needed, and return a description of model, device and process."""
        model = self._loaded_model()
        return {
            "actor": self._name,
            "node": socket.gethostname(),
            "pid": os.getpid(),
            "device": self._device,
            "lanes": self._lanes.count,
            "threads": self._lanes.threads,
            "encoder": self._spec,
            "asked_precision": self._serving.precision,
            "precision": model.encoder.precision,
            "batch_size": self._batcher.max_batch_size,
            "embed_dim": model.encoder.embed_dim,
            "encoder_fingerprint": model.encoder.fingerprint,
        }

    @_control
    def stats(self) -> dict[str, Any]:
        """Return the numbers of :meth:`.Meter.snapshot` and :meth:`.RewardModel.counts`.

        They also have ``pid`` and ``queue``, the number of waiting frames.
        """
        counts = self._model.counts() if self._model is not None else {}
        state = {"pid": os.getpid(), "queue": self._batcher.waiting}
        return {**state, **self._meter.snapshot(), **counts}

    @_control
    def report_failure(self, text: str) -> None:
        """Store a client's failure, which the driver raises as an error."""
        self._failures.append(text)

    @_control
    def failures(self) -> list[str]:
        """Return the failures that clients reported to this actor, oldest first."""
        return list(self._failures)

    def _forward(self, batches: list[Frames], goals: Goals, scorer: Scorer) -> Scores:
        return self._loaded_model().answer(batches, goals, scorer)

    def _loaded_model(self) -> RewardModel:
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> RewardModel:
        if self._device == "cuda" and not torch.cuda.is_available():
            raise PoolError(
                f"reward actor {self._name}: Ray assigned it a GPU, but torch "
                f"{torch.__version__} finds none. Install torch for CUDA, or set "
                "num_gpus_per_actor: 0."
            )
        with self._lanes.lane():
            name = absolute_spec(self._spec, self._folder)
            encoder = load_encoder(name, device=self._device, precision=self._serving.precision)
            model = RewardModel(encoder, cache_frames=self._serving.cache_frames)
            if self._serving.max_batch_size is None:
                self._batcher.max_batch_size = best_batch_size(model)
            if self._device == "cuda":
                torch.cuda.synchronize()  # the lanes' streams do not wait for this stream
        return model

    def _serve(self, request: Request) -> Future[Scores]:
        scorer = self._scorer(request.fingerprint)
        if scorer is None:
            raise SharedMemoryError(
                f"reward actor {self._name}: scorer {request.fingerprint[:8]} is unknown. Send the "
                "request through Ray, with the scorer."
            )
        return self._batcher.submit(request, scorer)

    def _scorer(self, fingerprint: str) -> Scorer | None:
        """Return the scorer of a fingerprint, or None.

        It is always the same object, since the batcher joins requests by object identity.
        """
        with self._scorers_lock:
            scorer = self._scorers.get(fingerprint)
            if scorer is not None:
                self._scorers.move_to_end(fingerprint)
            return scorer

    def _admit(self, fingerprint: str, ref: ray.ObjectRef) -> Scorer:
        scorer, embeddings = ray.get(ref)
        self._loaded_model().admit(scorer.goals, embeddings, scorer.words)
        with self._scorers_lock:
            scorer = self._scorers.setdefault(fingerprint, scorer)
            if len(self._scorers) > _MAX_SCORERS:
                self._scorers.popitem(last=False)
        return scorer


def _node_cores(node_id: str) -> int:
    """Return how many cores this process may use, at most the CPUs that Ray has on the node."""
    ray_cpus = next(n["Resources"].get("CPU", 0) for n in ray.nodes() if n["NodeID"] == node_id)
    return max(1, min(cores(), int(ray_cpus)))
