"""The same reward model behind Ray Serve and in a plain actor, to compare with.

Both have the interface of a pool, so that the same clients can use them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray import serve
from report import GPU

from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.serving.lanes import cores

IN_FLIGHT = 32  # the default of serving.max_in_flight
APPLICATION = "peer"


class Answer:
    """Scores that may not have arrived yet."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait, self._scores = wait, None

    def result(self) -> Any:
        """Wait for the scores."""
        if self._scores is None:
            self._scores = self._wait()
        return self._scores


class Connection:
    """Takes requests as a RewardPool does, with as many unanswered ones."""

    def __init__(self, send: Callable[[Any, Any], Callable[[], Any]]) -> None:
        self._send = send
        self._under_way: deque[Answer] = deque()

    def submit(self, frames: Any, goals: Any, scorer: Scorer, *, checked: bool = False) -> Answer:
        """Send one request; if IN_FLIGHT are unanswered, wait for the oldest first."""
        while len(self._under_way) >= IN_FLIGHT:
            self._under_way.popleft().result()
        stacked = frames if isinstance(frames, np.ndarray) else np.stack(frames)
        self._under_way.append(Answer(self._send(stacked, goals)))
        return self._under_way[-1]

    def report_failure(self, text: str) -> None:
        """Raise an error that the connector reports; a benchmark has no driver that would."""
        raise RuntimeError(text)


def serve_connection() -> Connection:
    """Return a connection to the Serve application."""
    handle = serve.get_app_handle(APPLICATION)
    return Connection(lambda frames, goals: handle.score.remote((frames, goals)).result)


def plain_connection(actor: Any) -> Callable[[], Connection]:
    """Return a function that connects to a plain actor."""

    def send(frames: Any, goals: Any) -> Callable[[], Any]:
        ref = actor.score.remote(frames, goals)
        return lambda: ray.get(ref)

    return lambda: Connection(send)


class PlainActor:
    """One reward model in one actor, one request after the other."""

    def __init__(self, encoder: str, precision: str, device: str, scorer: Scorer) -> None:
        # Ray 2.60 gives torch one thread in an actor that reserves no CPU.
        torch.set_num_threads(cores())
        self._model = load(encoder, precision, device)
        self._scorer = scorer

    def score(self, frames: Any, goals: Any) -> Any:
        """Score one request: float32 [B]."""
        return self._model.score(frames, goals, self._scorer)


class ServeModel:
    """The reward model as a Serve deployment that batches."""

    def __init__(self, encoder: str, precision: str, device: str, scorer: Scorer) -> None:
        self._model = load(encoder, precision, device)
        self._scorer, self._in_thread = scorer, False

    def tune(self, size: int, wait: float, in_thread: bool) -> None:
        """Set the requests of a batch, the seconds to wait for them, and where the model runs."""
        self.score.set_max_batch_size(size)
        self.score.set_batch_wait_timeout_s(wait)
        self._in_thread = in_thread

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)
    async def score(self, requests: Sequence[tuple[Any, Any]]) -> list[Any]:
        """Score the requests that Serve has joined."""
        if self._in_thread:
            return await asyncio.to_thread(self._forward, requests)
        return self._forward(requests)

    def _forward(self, requests: Sequence[tuple[Any, Any]]) -> list[Any]:
        torch.set_num_threads(cores())  # applies to the calling thread
        frames = np.concatenate([frames for frames, _ in requests])
        goals = np.concatenate([goals for _, goals in requests])
        scores = self._model.score(frames, goals, self._scorer)
        return np.split(scores, np.cumsum([len(goals) for _, goals in requests])[:-1])


def load(encoder: str, precision: str, device: str) -> RewardModel:
    """Load the model as the pool's actors do, but without cache: no frame comes twice."""
    return RewardModel(
        CLIPEncoder.load(encoder, device=device, precision=precision), cache_frames=0
    )


def start_serve(encoder: str, precision: str, device: str, scorer: Scorer) -> Any:
    """Start Serve with one replica; return its handle."""
    serve.start(proxy_location="Disabled")
    options = {"num_cpus": 0, "num_gpus": GPU}
    deployment = serve.deployment(
        ServeModel, num_replicas=1, max_ongoing_requests=256, ray_actor_options=options
    )
    return serve.run(deployment.bind(encoder, precision, device, scorer), name=APPLICATION)
