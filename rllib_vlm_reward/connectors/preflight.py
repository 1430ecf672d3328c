"""Checks before training that the envs of an env runner give frames and goals."""

import contextlib
import traceback
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from ray.rllib.core.columns import Columns
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.vector.vector_multi_agent_env import VectorMultiAgentEnv
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.episode_goal import episode_goal, ignored_goal
from rllib_vlm_reward.connectors.episode_metrics import success_of
from rllib_vlm_reward.connectors.frame_source import collect_frames
from rllib_vlm_reward.connectors.goal_embedding import shown
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.connectors.ledger import check_env_reward
from rllib_vlm_reward.connectors.pipeline import reward_piece, weights_piece
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError

__all__ = ["preflight"]

# The most goals to try, when one sub-env can be reset alone and when all must be reset together.
_MAX_GOALS, _MAX_GOALS_TOGETHER = 256, 16


def preflight(
    env_runner: EnvRunner, config: VLMRewardConfig, *, evaluates: bool = False
) -> Exception | str | None:
    """Reset the env runner's envs, step them once, and check their frames and goals.

    RLlib resets the envs again (with the env runner's seed) when sampling begins.

    Args:
        env_runner: the env runner.
        config: the reward of the run.
        evaluates: whether the env runner runs evaluation, so that held-out goals are allowed.

    Returns:
        The error, or the text of a warning, or None. The error is not raised, since RLlib would
        log it, wait a minute and restart a remote env runner.
    """
    if env_runner.env is None:  # the local env runner of an algorithm with remote ones
        return None
    try:
        reward_piece(env_runner)
        _check_vector_env(env_runner.env, config)
        if weights_piece(env_runner) is not None:
            _check_goals(env_runner.env, config)
        warning = _check_step(env_runner.env, config, evaluates)
        _check_policy(env_runner)
        _check_map_is_read(env_runner)
        return warning
    except (FrameError, GoalError, RewardError) as error:
        return error
    except Exception:
        shown = traceback.format_exc()
        hint = (
            " RLlib passes one dict, the EnvContext, to a class or function that is named by its "
            "import path; with a gymnasium id, the keys of env_config are keyword arguments."
        )
        return RewardError(
            "the env raised an error at its first reset or step. Correct the env."
            f"{hint if 'EnvContext' in shown else ''}\n{shown}"
        )


def _check_vector_env(env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig) -> None:
    mode = env.metadata.get("autoreset_mode")
    # A str if RLlib 2.60 vectorises a MultiAgentEnv.
    if mode not in (AutoresetMode.NEXT_STEP, "next_step"):
        raise FrameError(
            f"vector env: got autoreset mode {mode}, expected {AutoresetMode.NEXT_STEP}, in which "
            "the last observation of an episode is visible. Set the mode in the env's metadata "
            "and implement it in step(), or let RLlib vectorise the env (gym_env_vectorize_mode "
            "SYNC or ASYNC)."
        )
    if not config.early_end:
        return
    try:
        env.unwrapped.get_attr("external_reset")
    except AttributeError:
        raise RewardError(
            "early_end: got envs without the wrapper ExternalReset, so they cannot be reset from "
            "outside. Call add_vlm_reward after config.environment(...), or add ExternalReset to "
            "your env as the outermost wrapper."
        ) from None


def _check_goals(env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig) -> None:
    """Reset an env with goals from the whole set, since some are drawn only late in training."""
    try:
        env.unwrapped.get_attr("goal_weights")
    except AttributeError:
        raise GoalError(
            "curriculum: got envs without the wrapper DrawnGoal, so the curriculum cannot set "
            "their goals. Call add_vlm_reward after config.environment(...), or wrap your env in "
            "DrawnGoal."
        ) from None
    # The sub-envs of an AsyncVectorEnv can only be reset together, which takes longer.
    sub_envs = getattr(env.unwrapped, "envs", None)
    reset, limit = (sub_envs[0].reset, _MAX_GOALS) if sub_envs else (env.reset, _MAX_GOALS_TOGETHER)
    texts = config.goal_set.texts
    for text in texts[:: -(-len(texts) // limit)]:
        try:
            reset(options={"goal": text})
        except GoalError:
            raise
        except Exception as error:
            raise GoalError(
                f"goal {text!r}: the env cannot be reset with this goal ({error!r}), but the "
                "curriculum or the evaluation uses it. Correct the goal, or make "
                "reset(options={'goal': ...}) accept it."
            ) from error


def _check_step(
    env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig, evaluates: bool
) -> str | None:
    """Reset and step the envs, check goals and frames, and return a warning or None."""
    infos: Any  # a list, since RLlib wraps the env in DictInfoToList
    observations, infos = env.reset()
    if isinstance(env, VectorMultiAgentEnv):
        return _check_agents(env, config, evaluates, observations, infos)
    warning = None
    for observation, info in zip(unbatch(observations), infos, strict=True):
        episode_goal(KnownGoals(config), observation, info, evaluation=evaluates)
        if not evaluates:
            warning = warning or ignored_goal(config, observation, info)
    observations, rewards, _, _, infos = env.step(env.action_space.sample())
    for reward, info in zip(rewards, infos, strict=True):
        check_env_reward(float(reward), config.env_reward_weight)
        success_of(info, config.success_key)
    rows = list(range(env.num_envs))
    for source in config.sources:
        collect_frames(source, env, rows, unbatch(observations), infos)
    return warning


def _check_policy(env_runner: EnvRunner) -> None:
    """Give RLlib's own policy a uint8 frame, since its CNN takes none.

    Otherwise it fails when sampling begins, and RLlib waits a minute and reports a timeout.
    """
    module: Any = env_runner.module
    space = getattr(module, "observation_space", None)
    # A connector of the user may convert frames without declaring it in the space.
    converts = getattr(env_runner.config._env_to_module_connector, "user_factory", None) is not None
    if converts or not type(module).__module__.startswith("ray.rllib.algorithms."):
        return
    if not (
        isinstance(space, gym.spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8
    ):
        return
    try:
        with torch.no_grad():
            module.forward_inference(
                {Columns.OBS: torch.zeros((1, *space.shape), dtype=torch.uint8)}
            )
    except RuntimeError as error:
        raise RewardError(
            f"policy: RLlib's default policy does not take the observations, uint8 "
            f"{list(space.shape)} ({error}). Set goal_embedding=True in the reward and "
            "config.rl_module(rl_module_spec=RLModuleSpec(module_class=GoalConditionedModule)), "
            "which takes uint8 frames; or give an RLModule of your own; or let the env return "
            "float32."
        ) from error


class _Noted(UserDict[str, torch.Tensor]):
    """A Dict observation that notes which of its entries a module reads."""

    def __init__(self, parts: dict[str, torch.Tensor]) -> None:
        self.read: set[str] = set()
        super().__init__(parts)

    def __getitem__(self, name: str) -> torch.Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        self.read.update(self.data)  # whoever iterates may read all
        return super().__iter__()


def _check_map_is_read(env_runner: EnvRunner) -> None:
    """Refuse a module that reads observation or goal, but not the map."""
    module: Any = env_runner.module
    parts = shown(getattr(module, "observation_space", None))
    if "map" not in parts:
        return
    steps = (1, 1) if module.is_stateful() else (1,)
    device = next(module.parameters(), torch.zeros(0)).device
    shapes = {name: part.shape or () for name, part in parts.items()}
    seen = _Noted(
        {name: torch.zeros((*steps, *shape), device=device) for name, shape in shapes.items()}
    )
    # A module that fails here fails when sampling begins, where RLlib says more.
    with contextlib.suppress(Exception), torch.no_grad():
        before = module.get_initial_state()
        state = {name: torch.as_tensor(part)[None].to(device) for name, part in before.items()}
        module.forward_inference({Columns.OBS: seen, Columns.STATE_IN: state})
    if seen.read and "map" not in seen.read:
        raise RewardError(
            f"goal_map: the module {type(module).__name__} reads {sorted(seen.read)} of the "
            "observation, but not 'map'. Let it read observation['map'], use "
            "rllib_vlm_reward.policies.GoalConditionedModule, or set goal_map: false."
        )


def _check_agents(
    env: VectorMultiAgentEnv,
    config: VLMRewardConfig,
    evaluates: bool,
    observations: list[dict[Any, Any]],
    infos: list[dict[Any, Any]],
) -> str | None:
    """Do what :func:`_check_step` does for each agent, and return a warning that names one."""
    spaces = env.single_action_space
    unknown = [agent for agent in config.agents if agent not in spaces.spaces]
    if unknown:
        raise RewardError(
            f"agents: got {unknown}, expected agents of the env: {sorted(spaces, key=str)}. "
            "Correct the names; the number 1 and the text '1' are different names."
        )
    warning = None
    for row in range(env.num_envs):
        for agent, observation in observations[row].items():
            reward = config.for_agent(agent)
            if reward is not None:
                info = infos[row].get(agent, {})
                episode_goal(KnownGoals(reward), observation, info, evaluation=evaluates)
                ignored = None if evaluates else ignored_goal(reward, observation, info)
                warning = warning or (ignored and f"agent {agent!r}: {ignored}")
    acting = [{agent: spaces[agent].sample() for agent in row} for row in observations]
    observations, env_rewards, _, _, infos = env.step(acting)
    for row in range(env.num_envs):
        for agent, env_reward in env_rewards[row].items():
            reward = config.for_agent(agent)
            if reward is not None:
                check_env_reward(float(env_reward), reward.env_reward_weight)
        for agent, observation in observations[row].items():
            reward = config.for_agent(agent)
            if reward is not None:
                info = infos[row].get(agent, {})
                success_of(info, reward.success_key)
                for source in reward.sources:
                    collect_frames(source, env, [row], [observation], [info])
    return warning
