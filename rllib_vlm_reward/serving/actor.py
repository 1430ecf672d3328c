"""One device, one RewardModel, one batcher: the class that Ray turns into an actor."""

import contextlib
import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import ray
import torch

from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.meter import Meter
from rllib_vlm_reward.serving.request import Goals, Scores

__all__ = ["CONTROL", "RewardActor"]

CONTROL = "control"
_MAX_SCORERS = 64
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

    Threaded: each call waits in a thread of its own while the batcher joins what queued.

    Args:
        encoder: see :meth:`CLIPEncoder.load`.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        max_batch_size: frames in one forward pass at most.
        num_cpus: what Ray reserved; torch takes as many threads, or for 0 all of the node's cores.
    """

    def __init__(
        self, encoder: str, *, precision: str, max_batch_size: int, num_cpus: float
    ) -> None:
        self._spec, self._precision = encoder, precision
        context = ray.get_runtime_context()
        self._name = context.get_actor_name() or "unnamed"  # as Ray Data's actors are
        self._device = "cuda" if context.get_accelerator_ids().get("GPU") else "cpu"
        self._threads = max(1, int(num_cpus)) if num_cpus else _node_cores(context.get_node_id())
        self._model: RewardModel | None = None
        self._model_in_use = threading.Lock()
        self._scorers: OrderedDict[str, Scorer] = OrderedDict()
        self._scorers_in_use = threading.Lock()
        self._failures: list[str] = []
        self._meter = Meter(self._name)
        self._batcher = Batcher(
            self._forward, max_batch_size=max_batch_size, observe=self._meter.record
        )

    def score(
        self, frames: Frames, goals: Goals, fingerprint: str, scorer: Sequence[ray.ObjectRef]
    ) -> Scores:
        """Score one request, in a batch with those that wait.

        Args:
            frames: uint8 ``[B, H, W, 3]``, read-only where Ray shares its memory.
            goals: int64 ``[B]``.
            fingerprint: of the scorer.
            scorer: one ref of the scorer, in a list so that Ray does not fetch it: it is fetched
                only if its fingerprint is new here.

        Returns:
            float32 ``[B]``.

        Raises:
            FrameError, GoalError, RewardError, CheckpointError: as of RewardModel.
        """
        return self._batcher.submit(frames, goals, self._scorer(fingerprint, scorer[0])).result()

    @_control
    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed N texts: float32 ``[N, D]``, unit norm."""
        with self._loaded_model() as model:
            return model.embed_texts(texts)

    @_control
    def describe(self) -> dict[str, Any]:
        """Load the model if it is not, and return what it is and where."""
        model = self._model
        if model is None:
            with self._loaded_model() as model:
                pass
        return {
            "actor": self._name,
            "node": socket.gethostname(),
            "pid": os.getpid(),
            "device": self._device,
            "threads": self._threads,
            "encoder": self._spec,
            "precision": self._precision,
            "embed_dim": model.encoder.embed_dim,
            "encoder_fingerprint": model.encoder.fingerprint,
        }

    @_control
    def stats(self) -> dict[str, Any]:
        """Return :meth:`Meter.snapshot` with ``pid`` and ``queue``, the requests that wait."""
        return {"pid": os.getpid(), "queue": self._batcher.waiting, **self._meter.snapshot()}

    @_control
    def report_failure(self, text: str) -> None:
        """Keep a client's failure, for the driver to raise."""
        self._failures.append(text)

    @_control
    def failures(self) -> list[str]:
        """Return what clients reported to this actor, oldest first."""
        return list(self._failures)

    def _forward(self, frames: Frames, goals: Goals, scorer: Scorer) -> Scores:
        with self._loaded_model() as model:
            return model.score(frames, goals, scorer)

    @contextlib.contextmanager
    def _loaded_model(self) -> Iterator[RewardModel]:
        """The model, for one thread at a time: tokenizers and text banks are not thread-safe."""
        with self._model_in_use:
            # Ray 2.60 sets OMP_NUM_THREADS=1 where an actor asks for no CPU, and torch's setting
            # holds for the calling thread alone (measured with 2.15: get_num_threads says
            # otherwise, but another thread's matmul stays on one core).
            torch.set_num_threads(self._threads)
            if self._model is None:
                self._model = RewardModel(self._load())
            yield self._model

    def _load(self) -> CLIPEncoder:
        if self._device == "cuda" and not torch.cuda.is_available():
            raise PoolError(
                f"reward actor {self._name}: Ray gave it a GPU, but this torch "
                f"({torch.__version__}) sees none. Install torch for CUDA, or set "
                "num_gpus_per_actor: 0."
            )
        return CLIPEncoder.load(self._spec, device=self._device, precision=self._precision)

    def _scorer(self, fingerprint: str, ref: ray.ObjectRef) -> Scorer:
        """One object a fingerprint, since the batcher joins requests of the same object."""
        with self._scorers_in_use:
            scorer = self._scorers.get(fingerprint)
        if scorer is None:
            scorer = ray.get(ref)
        with self._scorers_in_use:
            scorer = self._scorers.setdefault(fingerprint, scorer)
            self._scorers.move_to_end(fingerprint)
            if len(self._scorers) > _MAX_SCORERS:
                self._scorers.popitem(last=False)
        return scorer


def _node_cores(node_id: str) -> int:
    """Cores of this node that this process may run on, and no more than Ray counts there."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    counted = next(n["Resources"].get("CPU", 0) for n in ray.nodes() if n["NodeID"] == node_id)
    return max(1, min(cores, int(counted)))
