"""One device, one RewardModel, one batcher: the class that Ray turns into an actor."""

import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import ray
import torch

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.batch_size import best_batch_size
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.lanes import Lanes, cores, use_threads
from rllib_vlm_reward.serving.meter import Meter
from rllib_vlm_reward.serving.request import Answer, Goals, Request, Scores
from rllib_vlm_reward.serving.shared_memory.protocol import SHAREABLE, SharedMemoryError
from rllib_vlm_reward.serving.shared_memory.server import SharedMemoryServer

__all__ = ["CONTROL", "RewardActor"]

CONTROL = "control"
_MAX_SCORERS = 64
_FIRST_BATCH_SIZE = 64  # until the one that suits the model is found
Method = TypeVar("Method", bound=Callable[..., Any])


def _control(method: Method) -> Method:
    """Serve a method in the threads of a group of its own, so it never waits behind scoring."""
    marked: Method = ray.method(concurrency_group=CONTROL)(method)
    return marked


class RewardActor:
    """Scores frames for any number of clients; keeps nothing that a retry would miss.

    Its constructor does no work: the model loads on the first need, in a method, so that an error
    reaches the caller. In the constructor it would make Ray restart the actor over and over.
    After a restart the same path loads it again.

    Requests come in shared memory from clients of this node, through Ray from others: each such
    call waits in a thread of its own while the batcher joins what queued.

    Args:
        encoder: see :meth:`CLIPEncoder.load`.
        precision: see :class:`~rllib_vlm_reward.serving_config.ServingConfig`.
        max_batch_size: frames in one forward pass at most; None finds it when the model is loaded.
        cache_frames: frames whose embeddings are kept.
        num_cpus: what Ray reserved, of which it takes whole cores; for 0 all of the node's.
    """

    def __init__(
        self,
        encoder: str,
        *,
        precision: str,
        max_batch_size: int | None,
        cache_frames: int,
        num_cpus: float,
    ) -> None:
        self._spec, self._precision = encoder, precision
        self._max_batch_size, self._cache_frames = max_batch_size, cache_frames
        context = ray.get_runtime_context()
        self._name = context.get_actor_name() or "unnamed"  # as Ray Data's actors are
        self._node = context.get_node_id()
        self._device = "cuda" if context.get_accelerator_ids().get("GPU") else "cpu"
        self._lanes = Lanes.on(
            self._device, max(1, int(num_cpus)) if num_cpus else _node_cores(self._node)
        )
        self._model: RewardModel | None = None
        self._loading = threading.Lock()
        self._scorers: OrderedDict[str, Scorer] = OrderedDict()
        self._scorers_in_use = threading.Lock()
        self._failures: list[str] = []
        self._meter = Meter(self._name, self._lanes.count)
        self._batcher = Batcher(
            self._forward,
            max_batch_size=max_batch_size or _FIRST_BATCH_SIZE,
            lanes=self._lanes.count,
            splits=self._lanes.splits,
            lane=self._lanes.lane,
            observe=self._meter.record,
        )
        self._server = SharedMemoryServer(self._serve, self._batcher) if SHAREABLE else None

    def score(self, request: Request, scorer: Sequence[ray.ObjectRef]) -> Answer:
        """Score one request, in a batch with those that wait.

        Args:
            request: checked (:meth:`.Request.check`), its frames one array; read-only where Ray
                shares its memory.
            scorer: one ref of the scorer and its texts' embeddings, in a list so that Ray does not
                fetch it: it is fetched only if its fingerprint is new here.

        Returns:
            float32 ``[B]``, and how many frames wait.

        Raises:
            FrameError, GoalError, RewardError, CheckpointError: as RewardModel does.
        """
        known = self._scorer(request.fingerprint) or self._admit(request.fingerprint, scorer[0])
        scores = self._batcher.submit(request, known).result()
        return Answer(scores, self._batcher.waiting)

    @_control
    def location(self) -> tuple[str, str | None]:
        """Return Ray's id of the node, and the address of the shared-memory server, if any."""
        return self._node, self._server.address if self._server else None

    @_control
    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed N texts: float32 ``[N, D]``, unit norm."""
        use_threads(self._lanes.cores)
        return self._loaded_model().embed_texts(texts)

    @_control
    def describe(self) -> dict[str, Any]:
        """Load the model if it is not, and return what it is and where."""
        model = self._loaded_model()
        return {
            "actor": self._name,
            "node": socket.gethostname(),
            "pid": os.getpid(),
            "device": self._device,
            "lanes": self._lanes.count,
            "threads": self._lanes.threads,
            "encoder": self._spec,
            "asked_precision": self._precision,
            "precision": model.encoder.precision,
            "batch_size": self._batcher.max_batch_size,
            "embed_dim": model.encoder.embed_dim,
            "encoder_fingerprint": model.encoder.fingerprint,
        }

    @_control
    def stats(self) -> dict[str, Any]:
        """Return :meth:`Meter.snapshot` and :meth:`RewardModel.counts`.

        Also ``pid`` and ``queue``, the frames that wait.
        """
        counts = self._model.counts() if self._model is not None else {}
        own = {"pid": os.getpid(), "queue": self._batcher.waiting}
        return {**own, **self._meter.snapshot(), **counts}

    @_control
    def report_failure(self, text: str) -> None:
        """Keep a client's failure, for the driver to raise."""
        self._failures.append(text)

    @_control
    def failures(self) -> list[str]:
        """Return what clients reported to this actor, oldest first."""
        return list(self._failures)

    def _forward(self, batches: list[Frames], goals: Goals, scorer: Scorer) -> Scores:
        return self._loaded_model().score(batches, goals, scorer)

    def _loaded_model(self) -> RewardModel:
        with self._loading:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> RewardModel:
        if self._device == "cuda" and not torch.cuda.is_available():
            raise PoolError(
                f"reward actor {self._name}: Ray gave it a GPU, but this torch "
                f"({torch.__version__}) sees none. Install torch for CUDA, or set "
                "num_gpus_per_actor: 0."
            )
        with self._lanes.lane():
            encoder = CLIPEncoder.load(self._spec, device=self._device, precision=self._precision)
            model = RewardModel(encoder, cache_frames=self._cache_frames)
            if self._max_batch_size is None:
                self._batcher.max_batch_size = best_batch_size(model)
            if self._device == "cuda":
                torch.cuda.synchronize()  # for the lanes, whose streams do not wait for this one
        return model

    def _serve(self, request: Request) -> Future[Scores]:
        scorer = self._scorer(request.fingerprint)
        if scorer is None:
            raise SharedMemoryError(
                f"reward actor {self._name}: scorer {request.fingerprint[:8]} is new here."
            )
        return self._batcher.submit(request, scorer)

    def _scorer(self, fingerprint: str) -> Scorer | None:
        """One object a fingerprint, since the batcher joins requests of the same object."""
        with self._scorers_in_use:
            scorer = self._scorers.get(fingerprint)
            if scorer is not None:
                self._scorers.move_to_end(fingerprint)
            return scorer

    def _admit(self, fingerprint: str, ref: ray.ObjectRef) -> Scorer:
        scorer, embeddings = ray.get(ref)
        self._loaded_model().admit(scorer.goals, embeddings)
        with self._scorers_in_use:
            scorer = self._scorers.setdefault(fingerprint, scorer)
            if len(self._scorers) > _MAX_SCORERS:
                self._scorers.popitem(last=False)
        return scorer


def _node_cores(node_id: str) -> int:
    """Cores of this node that this process may run on, and no more than Ray counts there."""
    counted = next(n["Resources"].get("CPU", 0) for n in ray.nodes() if n["NodeID"] == node_id)
    return max(1, min(cores(), int(counted)))
