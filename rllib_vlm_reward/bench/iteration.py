"""A run's own iterations, with its reward and with one that costs nothing."""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.impala import IMPALA
from ray.rllib.env.env_runner import EnvRunner

from rllib_vlm_reward.bench.traffic import Shape
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredSteps
from rllib_vlm_reward.reward_model.scorer import Scorer, Scores
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.request import Goals

__all__ = ["Iteration", "measure_iteration"]

REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Iteration:
    """Medians of a run's training iterations.

    Attributes:
        seconds: with the run's reward.
        seconds_without: with frames collected, and scores drawn on the spot.
        learner_s: of those, in the learner's update.
        frames: that an iteration has scored.
        frame: height and width of the run's frames.
        mode: the run's ``mode``.
    """

    seconds: float
    seconds_without: float
    learner_s: float
    frames: float
    frame: Shape
    mode: str

    @property
    def env_s(self) -> float:
        """Seconds without the reward and the learner: env steps, frames, policy and RLlib."""
        return max(0.0, self.seconds_without - self.learner_s)


def measure_iteration(experiment: Experiment) -> Iteration:
    """Train a few iterations of a run, in turn with its reward and without.

    Raises:
        ConfigError: the run's learner does not wait for its samples, or nothing was scored.
        FrameError, GoalError, PoolError, RewardError: training would fail.
    """
    # Of the scores drawn here alarms are true, and of no use.
    reward = experiment.vlm_reward.model_copy(update={"alarms": "off"})
    experiment = experiment.model_copy(update={"vlm_reward": reward})
    config = experiment.to_algorithm_config()
    if issubclass(config.algo_class, IMPALA):  # APPO is one
        raise ConfigError(
            f"bench: got {experiment.algorithm}, whose learner works while envs step, so its "
            "iterations have no parts to time one by one; expected another. Set algorithm: PPO, or "
            "give --encoder and --frame in place of CONFIG."
        )
    algorithm = config.build_algo()
    try:
        return _measure(algorithm, experiment.vlm_reward.mode)
    finally:
        algorithm.stop()


def _measure(algorithm: Algorithm, mode: str) -> Iteration:
    group, learner = algorithm.env_runner_group, _Stopwatch(algorithm.learner_group)
    group.foreach_env_runner(_record)
    algorithm.train()  # torch, envs and actors do in their first batches what they never do again
    shape = next((found for found in group.foreach_env_runner(_recorded) if found), None)
    if shape is None:
        raise ConfigError(
            "bench: the run's first iteration scored no frame, expected some. Raise "
            "train_batch_size_per_learner, or score more steps."
        )
    paid, unpaid, updates, frames = [], [], [], []
    for _ in range(REPEATS):
        paid.append(_train(algorithm))
        group.foreach_env_runner(_silence)
        learner.seconds = 0.0
        unpaid.append(_train(algorithm))
        updates.append(learner.seconds)
        frames.append(sum(group.foreach_env_runner(_end_silence)))
    return Iteration(median(paid), median(unpaid), median(updates), median(frames), shape, mode)


def _train(algorithm: Algorithm) -> float:
    begin = time.perf_counter()
    algorithm.train()
    return time.perf_counter() - begin


class _Stopwatch:
    """Adds up the seconds of a learner group's updates."""

    def __init__(self, group: Any) -> None:
        self.seconds = 0.0
        self._update = group.update
        group.update = self._timed

    def _timed(self, *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return self._update(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - begin


class _FirstFrame(Recorder):
    """A recorder that keeps the first frame alone."""

    def observe(self, steps: ScoredSteps) -> None:
        if not self.frames:
            self.frames += itertools.islice(steps.kept_frames(), 1)


class _Silence:
    """A pool that answers at once: random scores, since constant ones are reported."""

    def __init__(self, instead_of: RewardPool | None) -> None:
        self.frames, self.instead_of = 0, instead_of
        self._rng = np.random.default_rng(0)

    def submit(
        self, frames: Sequence[Any], goals: Goals, scorer: Scorer, *, checked: bool
    ) -> "_Drawn":
        self.frames += len(goals)
        return _Drawn(self._rng.random(len(goals), np.float32))


@dataclasses.dataclass(frozen=True)
class _Drawn:
    scores: Scores

    def result(self) -> Scores:
        return self.scores


def _record(runner: EnvRunner) -> None:
    if runner.env is not None:  # RLlib's local one may have none
        reward_piece(runner).record(_FirstFrame())


def _recorded(runner: EnvRunner) -> Shape | None:
    if runner.env is None:
        return None
    piece = reward_piece(runner)
    shapes = [
        stream.recorder.frames[0].frame.shape[:2]
        for stream in piece._streams.values()
        if stream.recorder is not None and stream.recorder.frames
    ]
    piece.record(None)
    return shapes[0] if shapes else None


def _silence(runner: EnvRunner) -> None:
    if runner.env is not None:
        piece = reward_piece(runner)
        silence: Any = _Silence(piece._pool)
        piece._pool = silence


def _end_silence(runner: EnvRunner) -> int:
    """Put the pool back; return for how many frames it was not asked."""
    if runner.env is None:
        return 0
    piece = reward_piece(runner)
    silence: Any = piece._pool
    piece._pool = silence.instead_of
    return int(silence.frames)
