"""Where RLlib keeps things: its pipelines, our pieces in them, and what has no public name.

Ray 2.60 gives no public way to most of this. Each private name is a fact of
``tests/test_ray_facts.py``, and stands in this file alone, as far as connectors and runs go.
"""

from collections.abc import Callable, Iterator
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
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring.highlights import MOST_RUNNERS
from rllib_vlm_reward.serving.deployment import Group

__all__ = [
    "attach_pieces",
    "driver_pieces",
    "embedding_piece",
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
    """Return whether an env runner has its pipeline yet; RLlib makes its env before that."""
    return hasattr(env_runner, "_env_to_module")


def reward_piece(env_runner: EnvRunner) -> VLMReward:
    """Return the env runner's reward piece.

    Raises:
        RewardError: it has none.
    """
    piece = _find(env_runner._env_to_module, VLMReward)
    if piece is None:
        raise RewardError(
            "env runner: no VLMReward in its env-to-module pipeline. Call add_vlm_reward after "
            "config.env_runners(env_to_module_connector=...), which replaces it."
        )
    return piece


def weights_piece(env_runner: EnvRunner) -> GoalWeights | None:
    """Return the env runner's piece that draws goals by a curriculum, if there is one."""
    return _find(env_runner._env_to_module, GoalWeights)


def embedding_piece(env_runner: EnvRunner) -> GoalEmbedding | None:
    """Return the env runner's piece that shows the policy its goal, if there is one."""
    return _find(env_runner._env_to_module, GoalEmbedding)


def driver_pieces(algorithm: Algorithm, kind: type[Piece]) -> Iterator[Piece]:
    """Yield the pieces of a kind in the driver's pipeline, whose state checkpoints hold."""
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
    encoder: str | None = None,
    evaluates: bool = False,
    highlights: bool = False,
) -> None:
    """Give the env runner's pieces the pool to ask, the name of their run, and their purpose.

    ``highlights`` has the first few env runners send their highest-scored frames, too.
    """
    for piece in env_runner._env_to_module.connectors:
        if isinstance(piece, VLMReward):
            gamma = env_runner.config.gamma
            piece.attach(pool_name, run, gamma=gamma, encoder=encoder, evaluates=evaluates)
            if highlights and env_runner.worker_index <= MOST_RUNNERS:
                piece.show_highlights()
        elif isinstance(piece, GoalEmbedding):
            piece.attach(pool_name, run)
        elif isinstance(piece, GoalWeights):
            piece.attach(evaluates=evaluates, is_remote=env_runner.worker_index > 0)


def ongoing_episodes(env_runner: EnvRunner) -> Episodes:
    """Return the episodes that an env runner goes on with in its next fragment."""
    episodes: list[SingleAgentEpisode] = env_runner._ongoing_episodes
    return [episode for episode in episodes if episode is not None]


def seed_next_reset(env_runner: EnvRunner) -> None:
    """Let the next sample begin with a reset by the env runner's seed; RLlib seeds no other."""
    env_runner._needs_initial_reset = True


def registered_env(env: Any) -> Callable[[Any], gym.Env[Any, Any]] | None:
    """Return the creator that was registered with Ray Tune under a name; None if there is none.

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
    """Set the configuration's learning rate, where it is a number, in a restored learner.

    The checkpoint's optimiser brings the old rate along, and Ray 2.60 would set the configured one
    only after the first update. A schedule goes by the steps, so there the checkpoint's is right.
    """
    for optimizer, schedule in learner._optimizer_lr_schedules.items():
        if not schedule.use_schedule:
            learner._set_optimizer_lr(optimizer, float(schedule.get_current_value()))


def trial_group(config: AlgorithmConfig, actors: int) -> Group:
    """Return the trial's placement group, if it has a bundle more for each of so many actors.

    RLlib 2.60 does not hand on what Tune says of a trial's resources
    (``algorithm.trial_resources`` is None), so the bundles are counted.
    """
    group = get_current_placement_group()
    if group is None:
        return None
    bundles = config.algo_class.default_resource_request(config).bundles
    return group if len(group.bundle_specs) == len(bundles) + actors else None


def _find(pipeline: EnvToModulePipeline, kind: type[Piece]) -> Piece | None:
    return next((piece for piece in pipeline.connectors if isinstance(piece, kind)), None)
