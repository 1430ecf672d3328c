"""Adds the reward to an RLlib configuration: the only code that touches one."""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.utils import force_list

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.connectors.drawn_goal import DrawnGoal
from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.pipeline import registered_env
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.connectors.stacked_frames import StackedFrames
from rllib_vlm_reward.curriculum import CurriculumConfig, make_curriculum
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError

__all__ = ["add_vlm_reward", "reward_of"]

# docs/ray-versions.md: the releases on which facts, recount and a training were run.
OLDEST_RAY, NEWEST_RAY = (2, 55), (2, 60)
_LOG = logging.getLogger(__name__)


def add_vlm_reward(
    config: AlgorithmConfig, vlm: VLMRewardConfig, curriculum: CurriculumConfig | None = None
) -> AlgorithmConfig:
    """Let CLIP reward the agents of an RLlib configuration.

    Call it last: after ``environment(...)``, ``callbacks(...)`` and ``env_runners(...)``. The
    user's own env-to-module connectors and callbacks stay, after ours. The reward actors start
    when the algorithm is built and end when it stops.

    A gymnasium id is asked for ``render_mode="rgb_array"`` where frames are rendered and the
    ``env_config`` names no render mode.

    Args:
        config: any algorithm's, on RLlib's new API stack; changed in place.
        vlm: what the reward is.
        curriculum: draws each episode's goal and hands it to the env, which must honour
            ``reset(options={"goal": text})``. None leaves the choice to the env.

    Returns:
        ``config``.

    Raises:
        CheckpointError: the encoder is unknown or its file missing.
        FrameError: gymnasium cannot make the env.
        ConfigError: the curriculum does not suit the goals, or ``stacked_frames`` is no number.
        GoalError: a curriculum with nothing to choose from, or with an env that it cannot reach.
        RewardError: no env is set, or the configuration is of a kind that cannot be rewarded.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> config = add_vlm_reward(
        ...     PPOConfig().environment("CartPole-v1"),
        ...     VLMRewardConfig(
        ...         encoder="ViT-B-32/random",
        ...         goals=["pole vertically upright on top of the cart"],
        ...         negatives=["pole and cart"],
        ...     ),
        ... )
        >>> config.env_config
        {'render_mode': 'rgb_array'}
    """
    # Not above: env runners import this module too, and only actors need open_clip.
    from rllib_vlm_reward.reward_model.encoder import check_encoder, embed_dim

    _check_ray()
    _check(config)
    _check_agents(config, vlm)
    _check_merging(config, vlm)
    check_encoder(vlm.encoder, vlm.serving.precision)
    _check_policy(config, vlm)
    if curriculum is not None:
        _check_curriculum(config, vlm, curriculum)
    _prepare_env(config, vlm, curriculum)
    dim = embed_dim(vlm.encoder) if vlm.goal_embedding else None
    frames = _stacked_frames(config)
    pieces = _Pieces(vlm, curriculum, dim, frames, config._env_to_module_connector)
    config.env_runners(env_to_module_connector=pieces)
    users = [c for c in force_list(config.callbacks_class) if c is not RLlibCallback]
    config.callbacks(callbacks_class=[functools.partial(VLMRewardCallbacks, vlm), *users])
    return config


def reward_of(config: AlgorithmConfig) -> VLMRewardConfig:
    """Return the reward that :func:`add_vlm_reward` gave to a configuration.

    Raises:
        RewardError: it has none.
    """
    pieces = config._env_to_module_connector
    if not isinstance(pieces, _Pieces):
        raise RewardError(
            "reward_of: got a configuration without a reward. Call add_vlm_reward(config, ...)."
        )
    return pieces.vlm


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """The env-to-module factory. It captures no env and no actor: it is in the checkpoint."""

    vlm: VLMRewardConfig
    curriculum: CurriculumConfig | None
    embed_dim: int | None
    stacked_frames: int
    users: Callable[..., Any] | None

    def __call__(self, env: Any, spaces: Any, device: Any) -> list[ConnectorV2]:
        reward = VLMReward(self.vlm)
        reward.env = env
        pieces: list[ConnectorV2] = [reward]
        if self.curriculum is not None:
            weights = GoalWeights(self.vlm, self.curriculum)
            weights.env = env
            pieces.append(weights)
        if self.embed_dim is not None:
            pieces.append(GoalEmbedding(self.vlm, self.embed_dim))
        if self.stacked_frames != 1:
            pieces.append(StackedFrames(self.stacked_frames))
        if self.users is not None:
            pieces += force_list(_call(self.users, env, spaces, device))
        return pieces


def _call(factory: Callable[..., Any], env: Any, spaces: Any, device: Any) -> Any:
    """Call a user's factory as RLlib 2.60 does: ``f(env, spaces, device)``, else ``f(env)``."""
    try:
        inspect.signature(factory).bind(env, spaces, device)
    except TypeError:
        return factory(env)
    return factory(env, spaces, device)


def _check_ray() -> None:
    """Warn of a Ray on which nobody ran the tests of what this package takes from it."""
    release = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if not OLDEST_RAY <= release <= NEWEST_RAY:
        oldest, newest = (".".join(map(str, each)) for each in (OLDEST_RAY, NEWEST_RAY))
        _LOG.warning(
            "Ray %s: rllib-vlm-reward was tested with Ray %s to %s. Rewards may be wrong without "
            "an error; install one of these, or run tests/test_ray_facts.py first.",
            ray.__version__,
            oldest,
            newest,
        )


def _check(config: AlgorithmConfig) -> None:
    if not config.enable_env_runner_and_connector_v2:
        raise RewardError(
            "add_vlm_reward: got a configuration of RLlib's old API stack, expected the new one. "
            "Remove api_stack(enable_env_runner_and_connector_v2=False)."
        )
    if isinstance(config._env_to_module_connector, _Pieces):
        raise RewardError("add_vlm_reward: this configuration has a reward already. Add one.")
    if config.env is None:
        raise RewardError(
            "add_vlm_reward: got a configuration without an env, expected one. Call "
            "config.environment(...) before it."
        )


def _check_agents(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    if not config.is_multi_agent:
        if vlm.agents:
            raise RewardError(
                f"agents: got {sorted(map(str, vlm.agents))} with a single-agent configuration, "
                "expected none. Call config.multi_agent(...) before add_vlm_reward."
            )
        return
    if vlm.early_end:
        raise RewardError(
            "early_end: got a multi-agent configuration, in which RLlib 2.60 ends episodes before "
            "the connectors see them. Set early_end: false, and let the env end."
        )
    if vlm.goal_embedding:
        raise RewardError(
            "goal_embedding: got a multi-agent configuration, expected a single-agent one. Put the "
            "goal into each agent's own observation."
        )


def _check_merging(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    if vlm.normalize_rewards and config.merge_env_runner_states is False:
        raise RewardError(
            "normalize_rewards: got merge_env_runner_states=False, so each env runner would scale "
            "by moments of its own. Set config.env_runners(merge_env_runner_states=True)."
        )


def _check_policy(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    own = config._rl_module_spec or config._env_to_module_connector  # which may flatten the Dict
    if vlm.goal_embedding and own is None:
        raise RewardError(
            "goal_embedding: the observation becomes a Dict of observation and goal, for which "
            "RLlib has no default policy. Set config.rl_module(rl_module_spec=RLModuleSpec("
            "module_class=GoalConditionedModule)), or a module of your own, before add_vlm_reward; "
            "in a run's YAML, policy: {module: rllib_vlm_reward.policies.GoalConditionedModule}."
        )


def _stacked_frames(config: AlgorithmConfig) -> int:
    """Return the number of frames that the policy's ``model_config`` asks for."""
    spec = config._rl_module_spec
    settings = getattr(spec, "model_config", None) or config.model_config
    frames: int = settings.get("stacked_frames", 1) if isinstance(settings, dict) else 1
    if frames != 1 and config.is_multi_agent:
        raise RewardError(
            "stacked_frames: got a multi-agent configuration, expected a single-agent one. Stack "
            "the frames in the env."
        )
    StackedFrames(frames)  # for its error
    return frames


def _check_curriculum(
    config: AlgorithmConfig, vlm: VLMRewardConfig, curriculum: CurriculumConfig
) -> None:
    if config.is_multi_agent:
        raise GoalError(
            "curriculum: got a multi-agent configuration, expected a single-agent one. Let the env "
            "choose its agents' goals."
        )
    if len(vlm.training_goals) < 2:
        raise GoalError("curriculum: got one goal, expected several to choose from. Add goals.")
    if config.batch_mode == "complete_episodes" and config.seed is not None:
        # RLlib 2.60 then resets the envs with the seed before each sample.
        raise GoalError(
            f"curriculum: got batch_mode 'complete_episodes' and seed {config.seed}, with which "
            "every sample draws the same goals. Set batch_mode 'truncate_episodes', or no seed."
        )
    make_curriculum(vlm.training_goals, curriculum)  # for its errors
    if curriculum.signal == "vlm_success" and vlm.threshold_in_force is None:
        raise GoalError(
            "curriculum: its signal is vlm_success, but without a threshold no reward fires. Set "
            "the reward's threshold, or another signal."
        )


def _prepare_env(
    config: AlgorithmConfig, vlm: VLMRewardConfig, curriculum: CurriculumConfig | None
) -> None:
    """Let the env render where it can be asked to, and be reached from outside where it must.

    RLlib 2.60 passes ``env_config`` of a gymnasium id on to ``gymnasium.make_vec``, of any other
    env to its creator.
    """
    is_gym_id = (
        isinstance(config.env, str)
        and not config.is_multi_agent
        and registered_env(config.env) is None
    )
    if is_gym_id:
        if vlm.frames.source == "render":
            config.env_config = {"render_mode": "rgb_array", **config.env_config}
        _check_gym_id(config.env, config.env_config)
    wrappers = _wrappers(vlm, curriculum)
    if not wrappers:
        return
    if gym.VectorizeMode(config.gym_env_vectorize_mode) == gym.VectorizeMode.VECTOR_ENTRY_POINT:
        raise RewardError(
            f"{'early_end' if vlm.early_end else 'curriculum'}: got an env that vectorises itself, "
            "expected one whose sub-envs can be wrapped. Set "
            "config.env_runners(gym_env_vectorize_mode=gym.VectorizeMode.SYNC)."
        )
    if is_gym_id:
        wrappers = [*config.env_config.get("wrappers", ()), *wrappers]
        config.env_config = {**config.env_config, "wrappers": wrappers}
    else:
        # Looked up here: AsyncVectorEnv makes its envs in forks, where Ray's registry hangs.
        config.env = _wrapped(registered_env(config.env) or config.env, wrappers)


def _wrappers(
    vlm: VLMRewardConfig, curriculum: CurriculumConfig | None
) -> list[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]]:
    """Return what every sub-env is put into, the outermost last."""
    wrappers: list[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = []
    if curriculum is not None:
        wrappers.append(
            functools.partial(
                DrawnGoal,
                goals=vlm.goal_set.texts,
                training=len(vlm.training_goals),
                goal_source=vlm.goal_source,
            )
        )
    if vlm.early_end:
        wrappers.append(ExternalReset)
    return wrappers


def _check_gym_id(env_id: str, env_config: dict[str, Any]) -> None:
    """Make the env once, since RLlib 2.60 answers one that it cannot make with an IndexError."""
    of_make_vec = ("vector_kwargs", "wrappers")
    kwargs = {key: value for key, value in env_config.items() if key not in of_make_vec}
    try:
        env: gym.Env[Any, Any] = gym.make(env_id, **kwargs)
        env.close()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise FrameError(
            f"env {env_id!r}: gymnasium cannot make it with {kwargs} ({type(error).__name__}: "
            f"{error}). Correct the id or env_config; an env of your own names the module that "
            "registers it, my_package:MyRoom-v0; if the env takes no render_mode, set "
            "frames.source to obs, obs:KEY or info:KEY."
        ) from error


def _wrapped(
    make: Callable[[Any], gym.Env[Any, Any]],
    wrappers: list[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]],
) -> type:
    """Return an env "class", the form RLlib accepts, that makes the env in its wrappers."""

    class WrappedEnv:
        def __new__(cls, context: Any) -> Any:
            return functools.reduce(lambda env, wrap: wrap(env), wrappers, make(context))

    return WrappedEnv
