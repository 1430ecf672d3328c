"""Starts and stops the pool with the algorithm, finishes fragments, and raises failures."""

import functools
import logging
import uuid
import weakref
from collections.abc import Callable
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.code_usage import add_code_usage
from rllib_vlm_reward.connectors.curriculum_progress import advance
from rllib_vlm_reward.connectors.episodes import Episodes
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_growth import EncoderAndEnv
from rllib_vlm_reward.connectors.goal_weights import GoalWeights, log_outcomes
from rllib_vlm_reward.connectors.pipeline import (
    attach_pieces,
    driver_pieces,
    has_pipeline,
    ongoing_episodes,
    reward_piece,
    seed_next_reset,
    trial_group,
    weights_piece,
)
from rllib_vlm_reward.connectors.played_frames import play_frames
from rllib_vlm_reward.connectors.preflight import preflight
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.connectors.sampling import Sampling
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.metric_names import ENV_RUNNERS, add_first_group
from rllib_vlm_reward.monitoring.monitor import RewardMonitor
from rllib_vlm_reward.serving.deployment import Group
from rllib_vlm_reward.serving.pool import RewardPool
from rllib_vlm_reward.serving.service import (
    RewardService,
    bundles_of,
    connect_service,
    embedding_pool,
    is_service_running,
    start_service,
)

__all__ = ["VLMRewardCallbacks", "callbacks_of"]

_LOG = logging.getLogger(__name__)


class VLMRewardCallbacks(RLlibCallback):  # type: ignore[misc]
    """The callbacks that the reward needs in addition to its connector.

    There is one instance on the driver, which owns the pool, and one in each env runner.

    Args:
        config: the reward of the run.

    Attributes:
        monitor: the monitor of the rewards of all env runners; only the driver's instance uses it.
        precisions: the precision that was chosen for each scorer, by :func:`.key_of`.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        super().__init__()
        self._config = config
        self._pool: RewardService | None = None
        self._weights: dict[str, str] = {}
        self.precisions: dict[str, str] = {}
        self._run = uuid.uuid4().hex[:12]
        self._sampling = Sampling(config, self._run)
        self._highlights = False
        self._has_codes = config.goal_embedding  # until a learner says otherwise
        self.monitor = RewardMonitor(config)

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Check the envs, start the pool, and send every env runner the pool's name.

        Raises:
            FrameError, GoalError, LabelError, RewardError, PoolError: training cannot succeed.
        """
        for group, evaluates in _groups(algorithm):
            check = functools.partial(preflight, config=self._config, evaluates=evaluates)
            found = group.foreach_env_runner(check)
            for error in found:
                if isinstance(error, Exception):
                    raise error
            warning = next((text for text in found if text is not None), None)
            if warning is not None:  # one is enough, although each env may draw another goal
                _LOG.warning(warning)
        # The configuration does not hold this name: an algorithm restored from a checkpoint would
        # then use the same name as the algorithm that wrote it.
        name = self._config.serving.pool_name or f"vlm-reward-{self._run}"
        actors = sum(each.serving.num_actors for each in self._config.by_expert.values())
        group = trial_group(algorithm.config, len(bundles_of(self._config)) or actors)
        self._pool, started = _start_or_share(self._config, name, group)
        if started:
            _close_with(algorithm, self._pool)
        _evaluate_apart(algorithm)
        self._weights = {
            actor.get("expert", ""): actor["encoder_fingerprint"] for actor in self._pool.describe()
        }
        silent = [expert for expert in self._config.by_expert if expert not in self._weights]
        if silent:
            raise PoolError(
                f"pool {self._pool.name!r}: no reward actor of the experts {silent} answers, so "
                "their weights cannot be checked. Start training when they answer."
            )
        for expert, weights in self._weights.items():
            self._config.check_weights(weights, expert)
        self.precisions = _chosen_precisions(algorithm, self._config, self._pool)
        for weights in driver_pieces(algorithm, GoalWeights):
            self._highlights = weights.begin_growth() or self._highlights
        for group, evaluates in _groups(algorithm):
            group.foreach_env_runner(self._attach(evaluates))
        for reward in driver_pieces(algorithm, VLMReward):
            gamma = algorithm.config.gamma
            reward.attach(
                self._pool.name,
                self._run,
                gamma=gamma,
                weights=self._weights,
                precisions=self.precisions,
            )
            reward.monitor = self.monitor  # so that checkpoints contain its state
        for embedding in driver_pieces(algorithm, GoalEmbedding):
            first = next(iter(self._config.by_expert))
            pool = embedding_pool(self._pool.name, self._config)
            embedding.attach(pool, encoder=self._weights.get(first))
            embedding.embed_goals()  # so that checkpoints contain the embeddings
        self._sampling.look_before_each_step(algorithm, self._pool)

    def on_env_runners_recreated(
        self,
        *,
        env_runner_group: EnvRunnerGroup,
        env_runner_indices: list[int],
        is_evaluation: bool,
        **kwargs: Any,
    ) -> None:
        """Send restarted env runners the pool's name."""
        env_runner_group.foreach_env_runner(
            self._attach(is_evaluation),
            remote_worker_ids=env_runner_indices,
            local_env_runner=False,
        )

    def on_environment_created(self, *, env_runner: EnvRunner, **kwargs: Any) -> None:
        """Pass a new vector env (``restart_failed_sub_environments``) to the connector pieces."""
        if not has_pipeline(env_runner):  # the env runner is still being created
            return
        reward_piece(env_runner).env = env_runner.env
        weights = weights_piece(env_runner)
        if weights is not None:
            weights.env = env_runner.env
            weights.send_weights()

    def on_sample_end(
        self,
        *,
        env_runner: EnvRunner,
        metrics_logger: MetricsLogger,
        samples: Episodes,
        **kwargs: Any,
    ) -> None:
        """Write the rewards of the fragment before it leaves the env runner."""
        reward_piece(env_runner).flush(samples, ongoing_episodes(env_runner), metrics_logger)
        weights = weights_piece(env_runner)
        if weights is not None and not weights.evaluates:
            fires = self._config.threshold_in_force is not None
            log_outcomes(metrics_logger, samples, weights.known.all.texts, fires=fires)

    def on_train_result(
        self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Raise the env runners' errors, update curriculum and monitor, report the goals' codes.

        Raises:
            RewardError: an env runner failed, the scores never change, RLlib dropped all samples,
                or nothing was sampled for ``stalled_seconds``.
            AlarmError: an alarm begins, and the configuration has ``alarms: error``.
            ConfigError: the episodes lack the signal that the curriculum reads.
        """
        if self._pool is not None:
            self._sampling.end_iteration(algorithm, self._pool, result)
        advance(algorithm, result, functools.partial(self._judge, algorithm))
        for embedding in driver_pieces(algorithm, GoalEmbedding):
            if self._pool is not None:
                embedding.embed_goals()  # those that were added, for checkpoints
        if self._pool is not None:
            self.monitor.update(result, self._pool.describe())
            self._has_codes = self._has_codes and add_code_usage(algorithm, result)
        add_first_group(result)

    def _judge(self, algorithm: Algorithm) -> EncoderAndEnv | None:
        """Return the judge of proposed goals, who looks at the highlights of the last iteration."""
        if not isinstance(self._pool, RewardPool):
            return None
        scorer = self._config.scorer.with_precisions(self.precisions)
        frames = [highlight.frame for highlight in self.monitor.highlights]
        return EncoderAndEnv(algorithm, self._pool, scorer, self._config, frames)

    def show_highlights(self, algorithm: Algorithm) -> None:
        """Make the first env runners send their highest-scored frames to :attr:`monitor`."""
        self._highlights = True
        algorithm.env_runner_group.foreach_env_runner(self._attach(False))

    def on_evaluate_end(self, *, evaluation_metrics: dict[str, Any], **kwargs: Any) -> None:
        """Raise the errors of the evaluation env runners.

        Raises:
            RewardError: an env runner failed.
        """
        steps = evaluation_metrics.get(ENV_RUNNERS, {}).get("num_env_steps_sampled", 0)
        self.raise_failures(goes_on=steps > 0)  # which is False for NaN

    def raise_failures(self, *, goes_on: bool = False) -> None:
        """Raise the new failures of the env runners, see :meth:`.Sampling.raise_failures`."""
        if self._pool is not None:
            self._sampling.raise_failures(self._pool, goes_on=goes_on)

    def _attach(self, evaluates: bool) -> Callable[[EnvRunner], None]:
        assert self._pool is not None
        return functools.partial(
            attach_pieces,
            pool_name=self._pool.name,
            run=self._run,
            weights=self._weights,
            precisions=self.precisions,
            evaluates=evaluates,
            highlights=self._highlights and not evaluates,
        )


def callbacks_of(algorithm: Algorithm) -> VLMRewardCallbacks:
    """Return the callbacks instance that owns an algorithm's pool and its reward monitor."""
    # RLlib 2.60 has one instance of each callbacks class, in a list if there are several.
    callbacks = force_list(algorithm.callbacks)
    return next(it for it in callbacks if isinstance(it, VLMRewardCallbacks))


def _groups(algorithm: Algorithm) -> list[tuple[EnvRunnerGroup, bool]]:
    """Return the groups of env runners, and for each whether it runs evaluation."""
    groups = ((algorithm.env_runner_group, False), (algorithm.eval_env_runner_group, True))
    return [(group, evaluates) for group, evaluates in groups if group is not None]


def _chosen_precisions(
    algorithm: Algorithm, config: VLMRewardConfig, service: RewardService
) -> dict[str, str]:
    """Choose the precision of each scorer on frames of an env runner; return it by its key."""

    @functools.cache
    def played() -> dict[str, Frames]:
        group, play = algorithm.env_runner_group, functools.partial(play_frames, config=config)
        if group is None:
            return {}
        first = group.healthy_env_runner_ids()[:1]
        found = group.foreach_env_runner(play, remote_worker_ids=first, local_env_runner=not first)
        return {scorer: frames for each in found for scorer, frames in each.items()}

    def frames_of(key: str) -> Frames | None:
        return played().get(key)

    raters = {reward.rater.keys: reward.rater for reward in config.rewards}
    chosen: dict[str, str] = {}
    for rater in raters.values():
        chosen |= service.choose_precisions(rater, frames_of)
    return chosen


def _start_or_share(config: VLMRewardConfig, name: str, group: Group) -> tuple[RewardService, bool]:
    """Connect to the running pool of this name, or start a pool.

    Returns:
        The pool, and whether this call started it. Only the algorithm that started a pool closes
        it.

    Raises:
        PoolError: the running pool has too few actors, or another model or precision.
    """
    if config.serving.pool_name is None or not is_service_running(name, config):
        return start_service(config, name=name, group=group), True
    pool = connect_service(name, config)
    for actor in pool.describe():
        reward = config.by_expert[actor.get("expert", "")]
        configured = {"encoder": reward.encoder, "precision": reward.serving.precision}
        served = {"encoder": actor["encoder"], "precision": actor["asked_precision"]}
        if served != configured:
            raise PoolError(
                f"serving.pool_name: the running pool {name!r} serves {served}, but the "
                f"configuration has {configured}. Choose another pool_name."
            )
    return pool, False


def _close_with(algorithm: Algorithm, pool: RewardService) -> None:
    """Close the pool when the algorithm stops, is garbage-collected, or its process ends.

    RLlib 2.60 has no callback for the end of an algorithm; ``stop()`` calls ``cleanup()``.
    """
    close = weakref.finalize(algorithm, pool.close)
    cleanup = algorithm.cleanup

    def cleanup_and_close() -> None:
        try:
            cleanup()
        finally:
            close()

    algorithm.cleanup = cleanup_and_close


def _evaluate_apart(algorithm: Algorithm) -> None:
    """Keep evaluation out of training where RLlib evaluates on the env runner of the training.

    RLlib 2.60's ``evaluate()`` does so without evaluation env runners. An episode belongs to one of
    both, so each begins with a reset. This is no callback, since an error may end an evaluation.
    """
    evaluate = algorithm.evaluate

    def evaluate_apart(*args: Any, **kwargs: Any) -> Any:
        runner = algorithm.env_runner
        if algorithm.eval_env_runner_group is not None or runner is None:
            return evaluate(*args, **kwargs)
        reward = reward_piece(runner)
        seed_next_reset(runner)
        reward.evaluate(True)
        try:
            return evaluate(*args, **kwargs)
        finally:
            reward.evaluate(False)
            seed_next_reset(runner)

    algorithm.evaluate = evaluate_apart
