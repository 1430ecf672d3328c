"""Clients that send frames as env runners do, without stepping an env."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.router import fetch

__all__ = [
    "Client",
    "Driven",
    "Shape",
    "StandInEnv",
    "connect",
    "rate",
    "start_clients",
    "together",
]

Shape = tuple[int, int]

_BANK = 16  # vector steps of frames made in advance, so that clients need no time for them
_EVERY_FRAME = {
    "frames": {"source": "render", "scored_steps": "all"},
    "goal_source": "info:goal",
    "mode": "deferred",
    "early_end": False,
    "goal_map": False,
    "agents": {},
    "calibration": None,  # it may be for another frame source
}


@dataclasses.dataclass(frozen=True)
class Driven:
    """The measurement of a client.

    Attributes:
        frames: number of scored frames.
        seconds: seconds until the client had the last score.
        cpu_seconds: CPU time of the client's process.
        latencies: seconds from each request to its scores; empty for :meth:`Client.drive`.
    """

    frames: int
    seconds: float
    cpu_seconds: float
    latencies: list[float]


class StandInEnv:
    """Renders frames made in advance; a number in the first pixels makes each frame unique.

    Args:
        num_envs: number of sub-envs, B.
        shape: height and width of a frame.
        seed: seed of the frames, different for each client.
    """

    render_mode = "rgb_array"

    def __init__(self, num_envs: int, shape: Shape, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.num_envs = num_envs
        self._bank = rng.integers(0, 256, (_BANK, num_envs, *shape, 3), np.uint8)
        self._seed, self._step = seed, 0

    @property
    def unwrapped(self) -> "StandInEnv":
        """The env itself, as of a gymnasium env without wrappers."""
        return self

    def render(self) -> Frames:
        """Return B new frames, uint8 ``[B, H, W, 3]``."""
        self._step += 1
        frames: Frames = self._bank[self._step % _BANK]
        stamp = np.frombuffer(self._step.to_bytes(6, "little") + bytes([self._seed % 256]), "u1")
        frames.reshape(self.num_envs, -1)[:, : len(stamp)] = stamp
        return frames


class _Piece(VLMReward):
    """The connector piece of the reward, with a given pool or something with its interface."""

    def __init__(self, config: VLMRewardConfig, pool: Any) -> None:
        super().__init__(config)
        self._given_pool = pool

    @property
    def pool(self) -> Any:
        return self._given_pool


class Client:
    """Does the work of one env runner: episodes, connector piece, requests.

    Args:
        config: the reward.
        connections: functions by name; each opens a pool, or something with a pool's interface.
        num_envs: number of sub-envs, B, which is the number of frames in a request.
        shape: height and width of a frame.
        seed: seed of the frames.
    """

    def __init__(
        self,
        config: VLMRewardConfig,
        connections: dict[str, Callable[[], Any]],
        num_envs: int,
        shape: Shape,
        seed: int,
    ) -> None:
        in_force = {"head": config.head_in_force, "threshold": config.threshold_in_force}
        self._config = config.model_copy(update={**_EVERY_FRAME, **in_force})
        self._connections = {name: make() for name, make in connections.items()}
        self._env: Any = StandInEnv(num_envs, shape, seed)
        self._scorer = config.scorer

    def drive(self, connection: str, seconds: float, steps: int) -> Driven:
        """Step B episodes through the connector piece, in whole fragments of ``steps`` steps."""
        piece = _Piece(self._config, self._connections[connection])
        piece.env = self._env
        episodes = [SingleAgentEpisode() for _ in range(self._env.num_envs)]
        texts = itertools.cycle(self._config.training_goals.texts)
        for episode, text in zip(episodes, texts, strict=False):
            episode.add_env_reset(0.0, {"goal": text})
        metrics = MetricsLogger()
        piece(rl_module=None, batch={}, episodes=episodes, metrics=metrics)

        def fragment() -> int:
            nonlocal episodes
            for _ in range(steps):
                for episode in episodes:
                    episode.add_env_step(0.0, 0, 0.0, {})
                piece(rl_module=None, batch={}, episodes=episodes, metrics=metrics)
            ongoing = [episode.cut() for episode in episodes]
            piece.flush(episodes, ongoing, metrics)
            metrics.reduce()
            episodes = ongoing
            return steps * len(episodes)

        return _timed(fragment, seconds)

    def request(self, connection: str, seconds: float, in_flight: int) -> Driven:
        """Send requests without episodes, with ``in_flight`` of them unanswered at most."""
        pool, goals = self._connections[connection], np.zeros(self._env.num_envs, np.int64)
        latencies: list[float] = []
        waiting: list[tuple[float, Any]] = []

        def answer() -> None:
            sent, pending = waiting.pop(0)
            pending.result()
            latencies.append(time.perf_counter() - sent)

        def one() -> int:
            begin = time.perf_counter()
            waiting.append((begin, pool.submit(self._env.render(), goals, self._scorer)))
            if len(waiting) >= in_flight:
                answer()
            return len(goals)

        def last() -> None:
            while waiting:
                answer()

        return dataclasses.replace(_timed(one, seconds, last), latencies=latencies)


def _timed(
    step: Callable[[], int], seconds: float, last: Callable[[], None] = lambda: None
) -> Driven:
    begin, cpu, frames = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < seconds:
        frames += step()
    last()
    return Driven(frames, time.perf_counter() - begin, time.process_time() - cpu, [])


def connect(name: str, config: VLMRewardConfig) -> Callable[[], RewardPool]:
    """Return a function that connects to a pool, for the client's process to call."""
    return lambda: RewardPool.connect(name, config)


def start_clients(
    count: int,
    config: VLMRewardConfig,
    connections: dict[str, Callable[[], Any]],
    num_envs: int,
    shape: Shape,
) -> list[ray.actor.ActorHandle]:
    """Start ``count`` clients, each in a separate process; see :class:`Client`."""
    kind = ray.remote(num_cpus=0)(Client)
    return [kind.remote(config, connections, num_envs, shape, seed) for seed in range(count)]


def together(clients: list[ray.actor.ActorHandle], method: str, *args: Any) -> list[Driven]:
    """Call a method of all clients at the same time, and return the results."""
    answers: list[Driven] = fetch([getattr(each, method).remote(*args) for each in clients])
    return answers


def rate(driven: Sequence[Driven]) -> float:
    """Return the frames/s of clients that started together, until the last one was done."""
    return sum(each.frames for each in driven) / max(each.seconds for each in driven)
