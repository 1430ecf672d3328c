"""Times iterations of a run, with its reward and with one that costs nothing."""

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
from rllib_vlm_reward.serving.request import Goals
from rllib_vlm_reward.serving.service import RewardService

__all__ = ["Iteration", "measure_iteration"]

REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Iteration:
    """Medians of a run's training iterations.

    Attributes:
        seconds: seconds of an iteration with the run's reward.
        seconds_without: seconds of an iteration with frames collected but with random scores.
        learner_s: the seconds of ``seconds_without`` that the learner's update takes.
        frames: number of frames that an iteration scores.
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
        """Seconds outside reward and learner: env steps, frames, policy and RLlib."""
        return max(0.0, self.seconds_without - self.learner_s)


def measure_iteration(experiment: Experiment) -> Iteration:
    """Train a few iterations of a run, alternately with its reward and without.

    Raises:
        ConfigError: the run's learner works while the envs step, or no frame was scored.
        FrameError, GoalError, PoolError, RewardError: training the run raises this error.
    """
    # The random scores of this measurement would raise alarms.
    reward = experiment.vlm_reward.model_copy(update={"alarms": "off"})
    experiment = experiment.model_copy(update={"vlm_reward": reward})
    config = experiment.to_algorithm_config()
    if issubclass(config.algo_class, IMPALA):  # APPO is a subclass
        raise ConfigError(
            f"bench: got {experiment.algorithm}, whose learner works while the envs step, so that "
            "the parts of an iteration cannot be timed; expected another algorithm. Set algorithm: "
            "PPO, or give --encoder and --frame in place of CONFIG."
        )
    algorithm = config.build_algo()
    try:
        return _measure(algorithm, experiment.vlm_reward.mode)
    finally:
        algorithm.stop()


def _measure(algorithm: Algorithm, mode: str) -> Iteration:
    group, learner = algorithm.env_runner_group, _Stopwatch(algorithm.learner_group)
    group.foreach_env_runner(_record)
    algorithm.train()  # the first iteration is slower: torch, envs and actors set themselves up
    shapes = group.foreach_env_runner(_recorded)
    shape = next((shape for shape in shapes if shape), None)
    if shape is None:
        raise ConfigError(
            "bench: the run's first iteration scored no frame, expected some. Raise "
            "train_batch_size_per_learner, or score more steps."
        )
    rewarded, unrewarded, updates, frames = [], [], [], []
    for _ in range(REPEATS):
        rewarded.append(_train(algorithm))
        group.foreach_env_runner(_replace_pool)
        learner.seconds = 0.0
        unrewarded.append(_train(algorithm))
        updates.append(learner.seconds)
        frames.append(sum(group.foreach_env_runner(_restore_pool)))
    return Iteration(
        median(rewarded), median(unrewarded), median(updates), median(frames), shape, mode
    )


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
    """A recorder that keeps only the first frame."""

    def observe(self, steps: ScoredSteps) -> None:
        if not self.frames:
            self.frames += itertools.islice(steps.kept_frames(), 1)


class _RandomPool:
    """A pool that returns random scores at once; constant scores would raise an alarm."""

    def __init__(self, replaced: RewardService | None) -> None:
        self.frames, self.replaced = 0, replaced
        self._rng = np.random.default_rng(0)

    def ask(self, views: Sequence[Sequence[Any]], goals: Goals, rater: Scorer) -> "_Drawn":
        self.frames += len(goals)
        shape = (len(goals), rater.columns) if rater.readouts else len(goals)
        return _Drawn(self._rng.random(shape, np.float32))


@dataclasses.dataclass(frozen=True)
class _Drawn:
    scores: Scores

    def result(self) -> Scores:
        return self.scores


def _record(runner: EnvRunner) -> None:
    if runner.env is not None:  # RLlib's local env runner may have no env
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


def _replace_pool(runner: EnvRunner) -> None:
    if runner.env is not None:
        piece = reward_piece(runner)
        pool: Any = _RandomPool(piece._pool)
        piece._pool = pool


def _restore_pool(runner: EnvRunner) -> int:
    """Put the run's pool back; return the number of frames that got random scores."""
    if runner.env is None:
        return 0
    piece = reward_piece(runner)
    pool: Any = piece._pool
    piece._pool = pool.replaced
    return int(pool.frames)
