"""A client that does with its frames what an env runner does, and steps no env."""

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

_BANK = 16  # vector steps of frames made beforehand, so that they cost the client nothing
_EVERY_FRAME = {
    "frames": {"source": "render", "scored_steps": "all"},
    "goal_source": "info:goal",
    "mode": "deferred",
    "early_end": False,
    "agents": {},
    "calibration": None,  # which may be for frames from elsewhere
}


@dataclasses.dataclass(frozen=True)
class Driven:
    """What a client got.

    Attributes:
        frames: that were scored.
        seconds: until the last score was there.
        cpu_seconds: of the client's process.
        latencies: seconds from a request to its scores, where requests go one by one.
    """

    frames: int
    seconds: float
    cpu_seconds: float
    latencies: list[float]


class StandInEnv:
    """Renders frames that were made beforehand, stamped so that no two are the same.

    Args:
        num_envs: B.
        shape: height and width of a frame.
        seed: of the frames; another for each client.
    """

    render_mode = "rgb_array"

    def __init__(self, num_envs: int, shape: Shape, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.num_envs = num_envs
        self._bank = rng.integers(0, 256, (_BANK, num_envs, *shape, 3), np.uint8)
        self._seed, self._step = seed, 0

    def render(self) -> Frames:
        """Return B new frames, uint8 ``[B, H, W, 3]``."""
        self._step += 1
        frames: Frames = self._bank[self._step % _BANK]
        stamp = np.frombuffer(self._step.to_bytes(6, "little") + bytes([self._seed % 256]), "u1")
        frames.reshape(self.num_envs, -1)[:, : len(stamp)] = stamp
        return frames


class _Piece(VLMReward):
    """The reward's own connector piece, with a pool, or a peer of it, put in its hand."""

    def __init__(self, config: VLMRewardConfig, door: Any) -> None:
        super().__init__(config)
        self._door = door

    @property
    def pool(self) -> Any:
        return self._door


class Client:
    """One env runner's share of the work: episodes, connector piece, requests.

    Args:
        config: of the reward.
        doors: by name, a function that returns what takes requests: a pool, or a peer of it.
        num_envs: B, the frames of a vector step, so of a request.
        shape: height and width of a frame.
        seed: of the frames.
    """

    def __init__(
        self,
        config: VLMRewardConfig,
        doors: dict[str, Callable[[], Any]],
        num_envs: int,
        shape: Shape,
        seed: int,
    ) -> None:
        in_force = {"head": config.head_in_force, "threshold": config.threshold_in_force}
        self._config = config.model_copy(update={**_EVERY_FRAME, **in_force})
        self._doors = {name: make() for name, make in doors.items()}
        self._env: Any = StandInEnv(num_envs, shape, seed)
        self._scorer = config.scorer

    def drive(self, door: str, seconds: float, steps: int) -> Driven:
        """Go the connector's way: B episodes step together, in whole fragments of so many steps."""
        piece = _Piece(self._config, self._doors[door])
        piece.env = self._env
        episodes = [SingleAgentEpisode() for _ in range(self._env.num_envs)]
        texts = itertools.cycle(self._config.training_goals.texts)
        for episode, text in zip(episodes, texts, strict=False):
            episode.add_env_reset(0.0, {"goal": text})
        piece(rl_module=None, batch={}, episodes=episodes)
        metrics = MetricsLogger()

        def fragment() -> int:
            nonlocal episodes
            for _ in range(steps):
                for episode in episodes:
                    episode.add_env_step(0.0, 0, 0.0, {})
                piece(rl_module=None, batch={}, episodes=episodes)
            ongoing = [episode.cut() for episode in episodes]
            piece.flush(episodes, ongoing, metrics)
            metrics.reduce()
            episodes = ongoing
            return steps * len(episodes)

        return _timed(fragment, seconds)

    def request(self, door: str, seconds: float, in_flight: int) -> Driven:
        """Send requests without episodes, so many under way at once."""
        pool, goals = self._doors[door], np.zeros(self._env.num_envs, np.int64)
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
    """Return a door to a pool, to be opened in the client's process."""
    return lambda: RewardPool.connect(name, config)


def start_clients(
    count: int,
    config: VLMRewardConfig,
    doors: dict[str, Callable[[], Any]],
    num_envs: int,
    shape: Shape,
) -> list[ray.actor.ActorHandle]:
    """Start clients, each in a process of its own; see :class:`Client`."""
    kind = ray.remote(num_cpus=0)(Client)
    return [kind.remote(config, doors, num_envs, shape, seed) for seed in range(count)]


def together(clients: list[ray.actor.ActorHandle], method: str, *args: Any) -> list[Driven]:
    """Let the clients do one thing at the same time."""
    answers: list[Driven] = fetch([getattr(each, method).remote(*args) for each in clients])
    return answers


def rate(driven: Sequence[Driven]) -> float:
    """Return the frames/s of clients that began together, until the last one had its scores."""
    return sum(each.frames for each in driven) / max(each.seconds for each in driven)
