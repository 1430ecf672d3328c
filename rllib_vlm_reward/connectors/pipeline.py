"""Access to RLlib's connector pipelines, and to all that has no public name in RLlib.

Ray 2.60 has no public interface for most of this. Connectors and runs use private names of RLlib
only through this file, and ``tests/test_ray_facts.py`` tests what the code assumes of each name.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import gymnasium as gym
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.core.learner.learner import Learner
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.tune.registry import ENV_CREATOR, _global_registry
from ray.util import get_current_placement_group

from rllib_vlm_reward.connectors.episodes import Episodes
from rllib_vlm_reward.connectors.failure import ReportingSample
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring.highlights import MOST_RUNNERS
from rllib_vlm_reward.serving.deployment import Group
from rllib_vlm_reward.serving.service import embedding_pool

__all__ = [
    "attach_pieces",
    "driver_pieces",
    "embedding_piece",
    "find_piece",
    "has_pipeline",
    "ongoing_episodes",
    "registered_env",
    "reward_piece",
    "seed_next_reset",
    "set_configured_lr",
    "trial_group",
    "weights_piece",
]

Piece = TypeVar("Piece", bound=ConnectorV2)


def has_pipeline(env_runner: EnvRunner) -> bool:
    """Return whether an env runner has its pipeline yet; RLlib creates the env first."""
    return hasattr(env_runner, "_env_to_module")


def find_piece(pipeline: EnvToModulePipeline, kind: type[Piece]) -> Piece | None:
    """Return a pipeline's first piece of a kind, if there is one."""
    return next((piece for piece in pipeline.connectors if isinstance(piece, kind)), None)


def reward_piece(env_runner: EnvRunner) -> VLMReward:
    """Return the connector piece of an env runner that writes the rewards.

    Raises:
        RewardError: the env runner has no such piece.
    """
    piece = find_piece(env_runner._env_to_module, VLMReward)
    if piece is None:
        raise RewardError(
            "env runner: got an env-to-module pipeline without VLMReward, expected one with it. "
            "Call add_vlm_reward after config.env_runners(env_to_module_connector=...), which "
            "replaces the pipeline."
        )
    return piece


def weights_piece(env_runner: EnvRunner) -> GoalWeights | None:
    """Return the connector piece that sends a curriculum's weights to the envs, or None."""
    return find_piece(env_runner._env_to_module, GoalWeights)


def embedding_piece(env_runner: EnvRunner) -> GoalEmbedding | None:
    """Return the connector piece that adds the goal to the observation, or None."""
    return find_piece(env_runner._env_to_module, GoalEmbedding)


def driver_pieces(algorithm: Algorithm, kind: type[Piece]) -> Iterator[Piece]:
    """Yield the connector pieces of a class in the driver's pipeline, which checkpoints save."""
    runner = algorithm.env_runner
    pipeline = algorithm.env_to_module_connector if runner is None else runner._env_to_module
    for piece in () if pipeline is None else pipeline.connectors:
        if isinstance(piece, kind):
            yield piece


def attach_pieces(
    env_runner: EnvRunner,
    pool_name: str,
    run: str,
    *,
    precisions: Mapping[str, str],
    weights: Mapping[str, str] | None = None,
    evaluates: bool = False,
    highlights: bool = False,
) -> None:
    """Set the pool, the run and the role of an env runner's connector pieces.

    From now on the env runner raises a user's own errors, and reports them if it is remote.

    Args:
        env_runner: the env runner.
        pool_name: Ray name of the pool.
        run: name of the run, under which failures are reported.
        weights: fingerprint of the weights of each expert's encoder, for checkpoints; without
            experts, of the pool's, under an empty name.
        precisions: the precision that was chosen for each scorer, by :func:`.key_of`.
        evaluates: whether the env runner runs evaluation.
        highlights: whether the first few env runners send their highest-scored frames.
    """
    for piece in env_runner._env_to_module.connectors:
        if isinstance(piece, VLMReward):
            pool = (lambda: reward_piece(env_runner).pool) if env_runner.worker_index else None
            env_runner.sample = ReportingSample(env_runner.sample, pool, run)
            piece.attach(
                pool_name,
                run,
                gamma=env_runner.config.gamma,
                weights=weights,
                precisions=precisions,
                evaluates=evaluates,
                runner=env_runner.worker_index,
            )
            if highlights and env_runner.worker_index <= MOST_RUNNERS:
                piece.show_highlights()
        elif isinstance(piece, GoalEmbedding):
            config = reward_piece(env_runner).config
            first = next(iter(config.by_expert))
            piece.attach(embedding_pool(pool_name, config), encoder=(weights or {}).get(first))
        elif isinstance(piece, GoalWeights):
            piece.attach(
                evaluates=evaluates,
                is_remote=env_runner.worker_index > 0,
                begin_anew=functools.partial(seed_next_reset, env_runner),
            )


def ongoing_episodes(env_runner: EnvRunner) -> Episodes:
    """Return the episodes that an env runner will continue in its next fragment."""
    episodes: list[SingleAgentEpisode] = env_runner._ongoing_episodes
    return [episode for episode in episodes if episode is not None]


def seed_next_reset(env_runner: EnvRunner) -> None:
    """Make the next sample begin with a reset that uses the env runner's seed."""
    env_runner._needs_initial_reset = True


def registered_env(env: Any) -> Callable[[Any], gym.Env[Any, Any]] | None:
    """Return the env creator registered with Ray Tune under this name, or None.

    Example:
        >>> from ray import tune
        >>> tune.register_env("my-cart", lambda config: gym.make("CartPole-v1"))
        >>> registered_env("my-cart")({}).spec.id
        'CartPole-v1'
        >>> registered_env("CartPole-v1") is None
        True
    """
    if not isinstance(env, str) or not _global_registry.contains(ENV_CREATOR, env):
        return None
    create: Callable[[Any], gym.Env[Any, Any]] = _global_registry.get(ENV_CREATOR, env)
    return create


def set_configured_lr(learner: Learner) -> None:
    """Set the learning rate of the configuration in a restored learner, if it is a number.

    The optimiser in the checkpoint has the old rate, and Ray 2.60 sets the configured rate only
    after the first update. A schedule depends on the number of steps, so the rate in the checkpoint
    is then right.
    """
    for optimizer, schedule in learner._optimizer_lr_schedules.items():
        if not schedule.use_schedule:
            learner._set_optimizer_lr(optimizer, float(schedule.get_current_value()))


def trial_group(config: AlgorithmConfig, actors: int) -> Group:
    """Return the placement group of a Tune trial if it has bundles for the reward actors.

    RLlib 2.60 does not pass on the resources of a trial (``algorithm.trial_resources`` is None),
    so this function compares the number of bundles with what the algorithm itself needs.

    Args:
        config: the trial's configuration.
        actors: the number of reward actors, each of which needs one bundle.

    Returns:
        The placement group; None outside of a trial, or if the number of bundles differs.
    """
    group = get_current_placement_group()
    if group is None:
        return None
    bundles = config.algo_class.default_resource_request(config).bundles
    return group if len(group.bundle_specs) == len(bundles) + actors else None
