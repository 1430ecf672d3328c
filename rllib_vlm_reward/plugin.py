"""Adds the reward to an RLlib configuration. No other module changes a configuration."""

import contextlib
import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_context import EnvContext
from ray.rllib.utils import force_list

from rllib_vlm_reward.config import VLMRewardConfig, position
from rllib_vlm_reward.connectors.callbacks import VLMRewardCallbacks
from rllib_vlm_reward.connectors.drawn_goal import DrawnGoal
from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.connectors.pipeline import registered_env
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.connectors.single_env import make_settings, single_env
from rllib_vlm_reward.connectors.stacked_frames import StackedFrames
from rllib_vlm_reward.curriculum import (
    CurriculumConfig,
    ProposeConfig,
    make_curriculum,
    make_proposer,
)
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError, RewardError
from rllib_vlm_reward.policies import SETTINGS, default_module
from rllib_vlm_reward.policies.default import frame_shape
from rllib_vlm_reward.policies.goal_code import goal_code_config
from rllib_vlm_reward.policies.module_check import build_once, check_model_config, is_ours
from rllib_vlm_reward.replay import HindsightCallbacks, with_hindsight
from rllib_vlm_reward.reward_model.heads import head_summary
from rllib_vlm_reward.rllib_settings import check_settings
from rllib_vlm_reward.warnings import warn_once

__all__ = ["add_vlm_reward", "reward_of"]

# The oldest and newest releases on which the tests passed, see docs/ray-versions.md.
OLDEST_RAY, NEWEST_RAY = (2, 55), (2, 60)
_LOG = logging.getLogger(__name__)
_SPACES = ("observation", "action")
# Why no goal can be added to such a reward.
_NOT_WITH_PROPOSALS = {
    "experts": "a calibration weighs experts by the goals that it knows",
    "bonus": "the bonus reads the nouns of the goals of the beginning",
    "goal_map": "the map reads the nouns of the goals of the beginning",
    "hindsight": "copies are made for the goals of the beginning",
    "hints": "a hint is compared with those of the goals of the beginning",
}
_MOST_WITH_ALL_NEGATIVES = 1_000  # goals that grow: 4 MB of indices for each set
_DEFAULT_DELAY_S, _DELAY_S = 60.0, 1.0  # until an env runner restarts after an error


def add_vlm_reward(
    config: AlgorithmConfig, vlm: VLMRewardConfig, curriculum: CurriculumConfig | None = None
) -> AlgorithmConfig:
    """Add a CLIP reward to an RLlib configuration.

    Call this function last: after ``environment(...)``, ``callbacks(...)`` and
    ``env_runners(...)``. Env-to-module connectors and callbacks that you have set are kept and run
    after those of this package. The reward actors start when the algorithm is built and end when
    it stops.

    If the env observes uint8 frames, for which RLlib has no policy, and you have set no RLModule
    and no connector of your own, then the policy is one of :mod:`rllib_vlm_reward.policies`, with
    ``goal_embedding``; a line of the log says so. With a connector of your own, a warning says what
    to set instead. To find out, the env is made and closed once. Set ``goal_embedding`` to prevent
    this. It is made once too if you have set a module of this package and no connector of your own,
    to see whether they suit each other.

    If frames are rendered, the env is a gymnasium id, and ``env_config`` has no render mode, then
    ``render_mode="rgb_array"`` is added to ``env_config``.

    Args:
        config: configuration of any algorithm on RLlib's new API stack; changed in place.
        vlm: the reward's settings.
        curriculum: draws each episode's goal and passes it to the env, which must follow
            ``reset(options={"goal": text})``. None leaves the choice of goals to the env.

    Returns:
        ``config``.

    Raises:
        CheckpointError: the encoder is unknown, or its file is missing.
        FrameError: gymnasium cannot make the env.
        ConfigError: a setting of RLlib has a wrong type or is too small, the curriculum does not
            suit the goals, ``stacked_frames`` is not a positive integer, ``goal_code`` does not
            suit the embeddings or lacks its package, or a module of this package does not suit
            ``model_config``, observations or actions.
        GoalError: the encoder reads only the beginning of a text, or two texts of a goal as the
            same; the curriculum has fewer than two goals to choose from, or it cannot be used with
            this configuration.
        RewardError: the arguments are no configurations, the configuration is frozen, no env is
            set, the configuration already has a reward, two settings contradict each other, one of
            several agents observes uint8 frames and no RLModule is set, a bonus or ``goal_map``
            lacks the encoder's patches, or a bonus the env's ``agent_position``.

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
    # Imported here, since env runners import this module too and only actors need open_clip.
    from rllib_vlm_reward.reward_model.encoder import check_encoder, check_patches, embed_dim

    _check_ray()
    _check_types(config, vlm)
    _check(config)
    check_settings(config)
    _check_agents(config, vlm)
    _check_agents_frames(config)
    _check_merging(config, vlm)
    _check_replay(config, vlm)
    vlm = _with_default_module(config, vlm)
    _warn_of_unobserved_goals(config, vlm)
    for encoder, precision, goal_sets in vlm.encoders:
        check_encoder(encoder, precision, goal_sets)
    scorers = [reward.scorer for reward in vlm.rewards]
    if any(scorer.reads_patches for scorer in scorers):
        check_patches(vlm.encoder, [readout for each in scorers for readout in each.readouts])
    _check_policy(config, vlm)
    if curriculum is not None:
        _check_curriculum(config, vlm, curriculum)
    _prepare_env(config, vlm, curriculum)
    vlm = _with_agent_position(config, vlm)
    if vlm.goal_map:  # so that env runners need not read it from open_clip
        vlm = vlm.model_copy(update={"goal_map": vlm.map_size})
    dim = embed_dim(vlm.leading.encoder) if vlm.goal_embedding else None
    callbacks: list[Any] = [functools.partial(VLMRewardCallbacks, vlm)]
    if vlm.hindsight is not None:
        _add_hindsight(config, vlm.hindsight)
        callbacks.append(functools.partial(HindsightCallbacks, vlm))
    if dim is not None:
        goal_code_config(dim, _module_settings(config))
    frames = _stacked_frames(config)
    _check_module(config, vlm, dim, frames)
    factory = _ConnectorFactory(vlm, curriculum, dim, frames, config._env_to_module_connector)
    config.env_runners(env_to_module_connector=factory)
    if config.delay_between_env_runner_restarts_s == _DEFAULT_DELAY_S:
        # RLlib 2.60 would wait a minute after an error in a remote env runner, and training with
        # it. Failures are logged, and nothing sampled is an error, so there is no need to wait.
        config.fault_tolerance(delay_between_env_runner_restarts_s=_DELAY_S)
    user_callbacks = [c for c in force_list(config.callbacks_class) if c is not RLlibCallback]
    config.callbacks(callbacks_class=[*callbacks, *user_callbacks])
    return config


def reward_of(config: AlgorithmConfig) -> VLMRewardConfig:
    """Return the reward that :func:`add_vlm_reward` gave to a configuration.

    Raises:
        RewardError: the configuration has no reward.
    """
    factory = config._env_to_module_connector
    if not isinstance(factory, _ConnectorFactory):
        raise RewardError(
            "reward_of: got a configuration without a reward. Call add_vlm_reward(config, ...) "
            "first."
        )
    return factory.vlm


@dataclasses.dataclass(frozen=True)
class _ConnectorFactory:
    """Makes the env-to-module connectors. Checkpoints hold it, so it has no env and no actor."""

    vlm: VLMRewardConfig
    curriculum: CurriculumConfig | None
    embed_dim: int | None
    stacked_frames: int
    user_factory: Callable[..., Any] | None

    def __call__(self, env: Any, spaces: Any, device: Any) -> list[ConnectorV2]:
        reward = VLMReward(self.vlm)
        reward.env = env
        connectors: list[ConnectorV2] = [reward]
        known = KnownGoals(self.vlm)
        reward.follow(known)
        if self.curriculum is not None:
            weights = GoalWeights(self.vlm, self.curriculum)
            weights.env, weights.known = env, known
            connectors.append(weights)
        if self.embed_dim is not None:
            embedding = GoalEmbedding(self.vlm.leading, self.embed_dim)
            embedding.known = known
            connectors.append(embedding)
        if self.stacked_frames != 1:
            connectors.append(StackedFrames(self.stacked_frames))
        if self.user_factory is not None:
            connectors += force_list(_call(self.user_factory, env, spaces, device))
        return connectors


def _call(factory: Callable[..., Any], env: Any, spaces: Any, device: Any) -> Any:
    """Call a user's factory as RLlib 2.60 does: ``f(env, spaces, device)`` or ``f(env)``."""
    try:
        inspect.signature(factory).bind(env, spaces, device)
    except TypeError:
        return factory(env)
    return factory(env, spaces, device)


def _check_ray() -> None:
    """Warn if this package was not tested with the installed release of Ray."""
    release = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if not OLDEST_RAY <= release <= NEWEST_RAY:
        oldest, newest = (".".join(map(str, version)) for version in (OLDEST_RAY, NEWEST_RAY))
        _LOG.warning(
            "Ray %s is installed, but rllib-vlm-reward was tested with Ray %s to %s. Rewards may "
            "be wrong without an error. Install one of these releases, or run "
            "tests/test_ray_facts.py first.",
            ray.__version__,
            oldest,
            newest,
        )


def _check_types(config: object, vlm: object) -> None:
    if isinstance(config, type):
        raise RewardError(
            f"add_vlm_reward: got the class {config.__name__}, expected an object. Write "
            f"{config.__name__}()."
        )
    if not isinstance(config, AlgorithmConfig) or not isinstance(vlm, VLMRewardConfig):
        remedy = ""
        if isinstance(vlm, dict):
            remedy = " Write VLMRewardConfig(**reward)."
        elif isinstance(config, Algorithm):
            remedy = " Call it with the configuration, before build_algo()."
        raise RewardError(
            f"add_vlm_reward: got {type(config).__name__} and {type(vlm).__name__}, expected "
            f"RLlib's AlgorithmConfig and then a VLMRewardConfig.{remedy}"
        )


def _check(config: AlgorithmConfig) -> None:
    try:
        config.debugging(seed=config.seed)  # RLlib has no public test for a frozen configuration
    except AttributeError as error:
        raise RewardError(
            "add_vlm_reward: got a frozen configuration, such as algorithm.config, expected one "
            "that can be changed. Call add_vlm_reward before build_algo()."
        ) from error
    if not config.enable_env_runner_and_connector_v2:
        raise RewardError(
            "add_vlm_reward: got a configuration of RLlib's old API stack, expected the new one. "
            "Remove api_stack(enable_env_runner_and_connector_v2=False)."
        )
    if isinstance(config._env_to_module_connector, _ConnectorFactory):
        raise RewardError(
            "add_vlm_reward: got a configuration that has a reward already, expected one without. "
            "Call add_vlm_reward once."
        )
    if config.env is None:
        raise RewardError(
            "add_vlm_reward: got a configuration without an env. Call "
            "config.environment(...) before add_vlm_reward."
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
            "early_end: got a multi-agent configuration, expected a single-agent one, since RLlib "
            "2.60 ends multi-agent episodes before the connectors see them. Set early_end: false, "
            "and let the env end its episodes."
        )
    for key in ("goal_embedding", "goal_map", "hindsight"):
        if getattr(vlm, key):
            raise RewardError(
                f"{key}: got a multi-agent configuration, expected a single-agent one. Put the "
                "goal into each agent's own observation."
            )


def _check_agents_frames(config: AlgorithmConfig) -> None:
    """Refuse uint8 frames of an agent for RLlib's own modules, whose CNN takes none."""
    has_module = config._rl_module_spec or config._env_to_module_connector
    create = registered_env(config.env) or config.env
    if not config.is_multi_agent or has_module or not callable(create):
        return
    spaces: dict[Any, gym.Space[Any]] = {}
    with contextlib.suppress(Exception):  # whether it can be made is checked where it is needed
        env: Any = create(EnvContext(config.env_config, worker_index=0))
        spaces = {agent: env.get_observation_space(agent) for agent in env.possible_agents}
        env.close()
    for agent, space in spaces.items():
        shape = frame_shape(space)
        if shape is not None:
            raise RewardError(
                f"policy: agent {agent!r} observes uint8 frames {list(shape)}, for which RLlib has "
                "no policy, and those of this package are for a single agent. Let the env return "
                "float32, such as np.float32(frame) / 255, and put the frame into each info, with "
                "frames={'source': 'info:frame'}; or call config.rl_module(rl_module_spec="
                "MultiRLModuleSpec(...)) with modules of your own before add_vlm_reward."
            )


def _check_merging(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    if config.merge_env_runner_states is not False:
        return
    if any(reward.hints and reward.hints.decay != "none" for reward in vlm.rewards):
        raise RewardError(
            "hints.decay: got merge_env_runner_states=False, with which each env runner would "
            "count by itself how often a hint was paid. Set "
            "config.env_runners(merge_env_runner_states=True), or hints.decay: none."
        )
    if any(reward.normalize_rewards for reward in vlm.rewards):
        raise RewardError(
            "normalize_rewards: got merge_env_runner_states=False, with which each env runner "
            "would scale rewards by different statistics. Set "
            "config.env_runners(merge_env_runner_states=True)."
        )


def _check_replay(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    if vlm.hindsight is None:
        return
    if config.input_ != "sampler":
        raise RewardError(
            f"hindsight: got offline data ({config.input_!r}), expected episodes of an env, since "
            "RLlib learns from a recording without a replay buffer of episodes. Remove hindsight."
        )
    if isinstance(config, DQNConfig | SACConfig):
        return
    raise RewardError(
        f"hindsight: got {type(config).__name__}, expected DQNConfig or SACConfig, which learn "
        "from a replay buffer. PPO, APPO and IMPALA learn from what their present policy does with "
        "the goal that it sees, and in a copy it acted for another goal. Choose DQN or SAC, or "
        "remove hindsight."
    )


def _add_hindsight(config: AlgorithmConfig, copies: int) -> None:
    """Let DQN's replay buffer make copies. That of SAC is replaced when the algorithm is built."""
    buffer = with_hindsight(config.replay_buffer_config, copies)
    if isinstance(config, DQNConfig):
        config.replay_buffer_config = buffer


def _check_policy(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    if vlm.goal_map and not vlm.goal_embedding:
        raise RewardError(
            "goal_map: got goal_embedding false, expected true, since the map stands beside the "
            "goal in the observation. Set goal_embedding: true, and a policy that reads both, such "
            "as rllib_vlm_reward.policies.GoalConditionedModule."
        )
    if vlm.hindsight is not None and not vlm.goal_embedding:
        raise RewardError(
            "hindsight: got goal_embedding false, expected true, since a copy shows the policy "
            "another goal. Set goal_embedding: true, and a policy that reads it, such as "
            "rllib_vlm_reward.policies.GoalConditionedQModule for DQN."
        )
    # A connector of the user may turn the Dict into an observation that RLlib has a policy for.
    handles_dict = config._rl_module_spec or config._env_to_module_connector
    if vlm.goal_embedding and handles_dict is None:
        raise RewardError(
            "goal_embedding: the observation becomes a Dict of observation and goal, for which "
            "RLlib has no default policy. Before add_vlm_reward, set config.rl_module("
            "rl_module_spec=RLModuleSpec(module_class=GoalConditionedModule)), or your own module; "
            "in a run's YAML, set policy: {module: "
            "rllib_vlm_reward.policies.GoalConditionedModule}. This module reads uint8 frames. If "
            "the observation is a vector, set config.env_runners(env_to_module_connector=lambda "
            "env, spaces, device: FlattenObservations()) of RLlib, or put the goal into the env's "
            "observation and set goal_embedding=False."
        )


def _with_default_module(config: AlgorithmConfig, vlm: VLMRewardConfig) -> VLMRewardConfig:
    """Set a module of this package if the env observes uint8 frames and no module is set.

    RLlib 2.60's own CNN does not take uint8. A ``model_config`` with keys of RLlib's modules asks
    for one of these, so the error of the check before training remains.

    Returns:
        The reward, with ``goal_embedding`` if a module was set.
    """
    given_embedding = "goal_embedding" in vlm.model_fields_set
    if config._rl_module_spec or config.is_multi_agent or given_embedding:
        return vlm
    given = config.model_config.keys() - type(config)().model_config.keys()
    spaces = None if given - SETTINGS else _env_spaces(config)
    algorithm = getattr(config.algo_class, "__name__", "")
    found = None if spaces is None else default_module(algorithm, *spaces)
    if spaces is None or found is None:
        return vlm
    module, needed = found
    if config._env_to_module_connector is not None:
        _LOG.warning(
            "policy: the env observes uint8 frames %s. RLlib has no policy for them, and none is "
            "set here, since you have an env-to-module connector, which may change the frames. If "
            "it does not, call config.rl_module(rl_module_spec=RLModuleSpec(module_class=%s)) and "
            "set goal_embedding=True; if it does, set goal_embedding=False, and with several goals "
            "let the observation contain the goal.",
            *(list(spaces[0].shape or ()), module.__name__),
        )
        return vlm.model_copy(update={"goal_embedding": False})
    missing = {key: value for key, value in needed.items() if key not in config.model_config}
    spec = RLModuleSpec(module_class=module, model_config=missing or None)
    config.rl_module(rl_module_spec=spec)
    _LOG.warning(
        "policy: the env observes uint8 frames %s, for which RLlib has no policy. %s is used, with "
        "goal_embedding. For another one, call config.rl_module(rl_module_spec=...) before "
        "add_vlm_reward, or set policy in a run's YAML.",
        *(list(spaces[0].shape or ()), module.__name__),
    )
    return vlm.model_copy(update={"goal_embedding": True})


def _warn_of_unobserved_goals(config: AlgorithmConfig, vlm: VLMRewardConfig) -> None:
    """Warn where the policy perhaps does not observe which of several goals it has."""
    goals = len(vlm.training_goals)
    is_chosen = "goal_embedding" in vlm.model_fields_set
    if goals < 2 or is_chosen or config.is_multi_agent or vlm.goal_source.startswith("obs:"):
        return
    warn_once(
        _LOG,
        f"policy: there are {goals} goals, and the policy sees which one it has only if the env's "
        "observation contains it. If it does, set goal_embedding=False; otherwise set "
        "goal_embedding=True, and see docs/your-own-env.md for the policy that it needs.",
    )


def _with_agent_position(config: AlgorithmConfig, vlm: VLMRewardConfig) -> VLMRewardConfig:
    """Replace the centre ``agent`` of a bonus by the place at which the env says its agent is."""
    if not any(reward.bonus and reward.bonus.centre == "agent" for reward in vlm.rewards):
        return vlm
    remedy = (
        "Give the env's class the attribute agent_position = (x, y), shares of the frame's width "
        "and height, such as (0.5, 1.0) where the agent looks out of the frame's lower edge; or "
        "set bonus.centre to centre, or to [x, y]."
    )
    if config.is_multi_agent:
        raise RewardError(
            "bonus.centre: got 'agent' with a multi-agent configuration, expected a place, since "
            "each agent has one of its own. Set centre: [x, y]."
        )
    # The env is made, since its __init__ may replace the attribute of its class.
    with contextlib.closing(single_env(config)) as env:
        get = getattr(env, "get_wrapper_attr", lambda name: getattr(env, name))
        try:
            given = get("agent_position")
        except AttributeError as error:
            raise RewardError(
                f"bonus.centre: got 'agent', but the env does not say where that is ({error}). "
                f"{remedy}"
            ) from error
    try:
        centre = position(given)
    except ValueError as error:
        raise RewardError(f"bonus.centre: the env's agent_position: {error}") from error
    return vlm.model_copy(update={"bonus": {"centre": centre}})


def _env_spaces(config: AlgorithmConfig) -> tuple[gym.Space[Any], gym.Space[Any]] | None:
    """Return the spaces of observations and actions; None if the env cannot be made here.

    Whether it can be made where it is needed is checked later.
    """
    if isinstance(config.observation_space, gym.Space) and config.action_space is not None:
        return config.observation_space, config.action_space
    create = registered_env(config.env) or config.env
    observations, actions = (getattr(create, f"{kind}_space", None) for kind in _SPACES)
    if isinstance(observations, gym.Space) and isinstance(actions, gym.Space):
        return observations, actions
    with contextlib.suppress(Exception):
        if callable(create):
            env: Any = create(EnvContext(config.env_config, worker_index=0))
            spaces = env.observation_space, env.action_space
        else:
            env = gym.make_vec(create, num_envs=1, vectorization_mode="sync", **config.env_config)
            spaces = env.single_observation_space, env.single_action_space
        env.close()
        return spaces
    return None


def _module_settings(config: AlgorithmConfig) -> dict[str, Any]:
    """Return the policy's ``model_config``."""
    given = config.model_config, getattr(config._rl_module_spec, "model_config", None)
    settings: dict[str, Any] = {}
    for each in given:  # RLlib merges them like this
        settings |= each if isinstance(each, dict) else {}
    return settings


def _check_module(
    config: AlgorithmConfig, vlm: VLMRewardConfig, dim: int | None, frames: int
) -> None:
    """Check a module of this package with what it gets to see."""
    if config.is_multi_agent or not is_ours(config):
        return
    check_model_config(config, _module_settings(config))
    spaces = None if config._env_to_module_connector is not None else _env_spaces(config)
    if spaces is None:
        return
    observations, actions = spaces
    pieces: list[Any] = [] if dim is None else [GoalEmbedding(vlm.leading, dim)]
    for piece in [*pieces, *([StackedFrames(frames)] if frames > 1 else [])]:
        observations = piece.recompute_output_observation_space(observations, actions)
    build_once(config, observations, actions)


def _stacked_frames(config: AlgorithmConfig) -> int:
    """Return the number of frames that the policy's ``model_config`` asks for."""
    frames: int = _module_settings(config).get("stacked_frames", 1)
    if frames != 1 and config.is_multi_agent:
        raise RewardError(
            "stacked_frames: got a multi-agent configuration, expected a single-agent one. Stack "
            "the frames in the env."
        )
    StackedFrames(frames)  # raises an error if the number is invalid
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
        raise GoalError("curriculum: got one goal, expected at least two. Add goals.")
    if config.batch_mode == "complete_episodes" and config.seed is not None:
        # With both, RLlib 2.60 resets the envs with the seed before each sample.
        raise GoalError(
            f"curriculum: got batch_mode 'complete_episodes' and seed {config.seed}, with which "
            "every sample draws the same goals. Set batch_mode 'truncate_episodes', or remove the "
            "seed."
        )
    make_curriculum(vlm.training_goals, curriculum)  # raises an error if they do not match
    if curriculum.propose is not None:
        _check_proposals(vlm, curriculum.propose)
    if curriculum.signal == "vlm_success" and vlm.threshold_in_force is None:
        raise GoalError(
            "curriculum: the signal is vlm_success, but the reward has no threshold, so no episode "
            "counts as a success. Set the reward's threshold, or another signal."
        )


def _check_proposals(vlm: VLMRewardConfig, propose: ProposeConfig) -> None:
    """Check that goals can be added to a reward, and that there is somebody who proposes some."""
    for key, reason in _NOT_WITH_PROPOSALS.items():
        if getattr(vlm, key):
            raise GoalError(
                f"curriculum.propose: got it together with {key}, expected one of them, since "
                f"{reason}. Remove curriculum.propose, or {key}."
            )
    number, head = len(vlm.training_goals), vlm.head_in_force
    if propose.at_most <= number:
        raise GoalError(
            f"curriculum.propose: got at_most {propose.at_most} with {number} training goals, "
            "expected more, since none could be added. Raise at_most, or begin with fewer goals."
        )
    if head.needs_baseline and vlm.baseline is None:
        raise GoalError(
            f"curriculum.propose: the head {head_summary(head)!r} needs a baseline for every goal, "
            "but there is none for a goal that is added. Set vlm_reward.baseline."
        )
    if vlm.num_negatives is None and propose.at_most > _MOST_WITH_ALL_NEGATIVES:
        raise GoalError(
            f"curriculum.propose: got at_most {propose.at_most:,} without num_negatives, expected "
            f"at most {_MOST_WITH_ALL_NEGATIVES:,}, since each goal would have all others as "
            "negatives, and reward actors keep the last 64 sets of goals. Set "
            "vlm_reward.num_negatives, or lower at_most."
        )
    if vlm.num_negatives is None and head.range_among(2) != head.range:
        raise GoalError(
            f"curriculum.propose: the range of the head {head_summary(head)!r} depends on the "
            "number of negatives, which would grow with the goals. Set vlm_reward.num_negatives."
        )
    held_out = vlm.goal_set.texts[number:]
    make_proposer(vlm.training_goals, propose, vlm.goal_templates, held_out)


def _prepare_env(
    config: AlgorithmConfig, vlm: VLMRewardConfig, curriculum: CurriculumConfig | None
) -> None:
    """Set the env's render mode where needed, and wrap the env for ``early_end`` and curriculum.

    RLlib 2.60 passes ``env_config`` to ``gymnasium.make_vec`` if the env is a gymnasium id, and to
    the env's creator otherwise.
    """
    is_gym_id = (
        isinstance(config.env, str)
        and not config.is_multi_agent
        and registered_env(config.env) is None
    )
    if is_gym_id:
        if "render" in vlm.sources:
            config.env_config = {"render_mode": "rgb_array", **config.env_config}
        _check_gym_id(config.env, config.env_config)
    wrappers = _wrappers(vlm, curriculum)
    if not wrappers:
        return
    if gym.VectorizeMode(config.gym_env_vectorize_mode) == gym.VectorizeMode.VECTOR_ENTRY_POINT:
        raise RewardError(
            f"{'early_end' if vlm.early_end else 'curriculum'}: got an env that vectorises itself, "
            "whose sub-envs cannot be wrapped. Set "
            "config.env_runners(gym_env_vectorize_mode=gym.VectorizeMode.SYNC)."
        )
    if is_gym_id:
        wrappers = [*config.env_config.get("wrappers", ()), *wrappers]
        config.env_config = {**config.env_config, "wrappers": wrappers}
    else:
        # Look the env up here, since AsyncVectorEnv makes its envs in forked processes, in which
        # Ray's registry hangs.
        config.env = _wrapped(registered_env(config.env) or config.env, wrappers)


def _wrappers(
    vlm: VLMRewardConfig, curriculum: CurriculumConfig | None
) -> list[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]]:
    """Return the wrappers of every sub-env, the outermost last."""
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
    """Make the env once, since RLlib 2.60 raises an unclear IndexError if it cannot be made."""
    kwargs = make_settings(env_config)
    try:
        env: gym.Env[Any, Any] = gym.make(env_id, **kwargs)
        env.close()  # type: ignore[no-untyped-call]
    except ConfigError:  # a package that the env needs is missing
        raise
    except Exception as error:
        raise FrameError(
            f"env {env_id!r}: gymnasium cannot make it with {kwargs} ({type(error).__name__}: "
            f"{error}). Correct the id or env_config. For an env of your own, put the module that "
            "registers it before the id, as in my_package:MyRoom-v0. If the env takes no "
            "render_mode, set frames.source to obs, obs:KEY or info:KEY."
        ) from error


def _wrapped(
    make: Callable[[Any], gym.Env[Any, Any]],
    wrappers: list[Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]],
) -> type:
    """Return an env class, the form that RLlib accepts, that makes the env with its wrappers."""

    class WrappedEnv:
        def __new__(cls, context: Any) -> Any:
            return functools.reduce(lambda env, wrap: wrap(env), wrappers, make(context))

    return WrappedEnv
