"""Looks at one env runner before training: can frames and goals be had?"""

import traceback
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import collect_frames, find_goal
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError

__all__ = ["attach_pieces", "preflight", "reward_piece"]


def reward_piece(env_runner: SingleAgentEnvRunner) -> VLMReward:
    """Return the env runner's reward piece.

    Raises:
        RewardError: it has none.
    """
    # RLlib 2.60 gives no public way to a runner's pipeline; tests/test_ray_facts.py holds this one.
    for piece in env_runner._env_to_module.connectors:
        if isinstance(piece, VLMReward):
            return piece
    raise RewardError(
        "env runner: no VLMReward in its env-to-module pipeline. Call add_vlm_reward after "
        "config.env_runners(env_to_module_connector=...), which replaces it."
    )


def attach_pieces(env_runner: SingleAgentEnvRunner, pool_name: str, run: str) -> None:
    """Tell the env runner's pieces which pool to ask, and in which run's name."""
    for piece in env_runner._env_to_module.connectors:
        if isinstance(piece, (VLMReward, GoalEmbedding)):
            piece.attach(pool_name, run)


def preflight(env_runner: SingleAgentEnvRunner, config: VLMRewardConfig) -> Exception | None:
    """Reset the env runner's envs, step them once, and look at frames and goals.

    The envs are reset again (with the env runner's seed) when sampling begins.

    Returns:
        What is wrong, or None. Not raised: RLlib would log it, wait a minute and restart a
        remote env runner.
    """
    if env_runner.env is None:  # the driver's own, beside remote env runners
        return None
    try:
        reward_piece(env_runner)
        _check_vector_env(env_runner.env, config)
        _check_step(env_runner.env, config)
    except (FrameError, GoalError, RewardError) as error:
        return error
    except Exception:
        return RewardError(f"the env failed in its first two steps:\n{traceback.format_exc()}")
    return None


def _check_vector_env(env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig) -> None:
    mode = env.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        raise FrameError(
            f"vector env: got autoreset mode {mode}, expected {AutoresetMode.NEXT_STEP}, which "
            "shows the terminal frame. Set it in the env's metadata and step(), or let RLlib "
            "vectorise (gym_env_vectorize_mode SYNC or ASYNC)."
        )
    if not config.early_end:
        return
    try:
        env.unwrapped.get_attr("external_reset")
    except AttributeError:
        raise RewardError(
            "early_end: the envs can't be reset from outside. Call add_vlm_reward after "
            "config.environment(...), or wrap your env in ExternalReset as the outermost wrapper."
        ) from None


def _check_step(env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig) -> None:
    rows = list(range(env.num_envs))
    infos: Any  # a list: RLlib wraps the env in DictInfoToList
    observations, infos = env.reset()
    for observation, info in zip(unbatch(observations), infos, strict=True):
        find_goal(config.goal_source, config.goal_set, observation, info)
    observations, _, _, _, infos = env.step(env.action_space.sample())
    collect_frames(config.frame_source, env, rows, unbatch(observations), infos)
