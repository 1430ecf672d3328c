"""Checks one env runner before training: does it give frames and goals?"""

import traceback
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.vector.vector_multi_agent_env import VectorMultiAgentEnv
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import collect_frames, episode_goal
from rllib_vlm_reward.connectors.pipeline import reward_piece, weights_piece
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError

__all__ = ["preflight"]

# How many goals are tried, one sub-env at a time or all together.
_TRIED, _TRIED_TOGETHER = 256, 16


def preflight(
    env_runner: EnvRunner, config: VLMRewardConfig, *, evaluates: bool = False
) -> Exception | None:
    """Reset the env runner's envs, step them once, and look at frames and goals.

    The envs are reset again (with the env runner's seed) when sampling begins.

    Returns:
        The error, or None. It is not raised: RLlib would log it, wait a minute and restart a
        remote env runner.
    """
    if env_runner.env is None:  # the driver's own, beside remote env runners
        return None
    try:
        reward_piece(env_runner)
        _check_vector_env(env_runner.env, config)
        if weights_piece(env_runner) is not None:
            _check_drawn(env_runner.env, config)
        _check_step(env_runner.env, config, evaluates)
    except (FrameError, GoalError, RewardError) as error:
        return error
    except Exception:
        return RewardError(f"the env failed in its first two steps:\n{traceback.format_exc()}")
    return None


def _check_vector_env(env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig) -> None:
    mode = env.metadata.get("autoreset_mode")
    # A str where RLlib 2.60 vectorises a MultiAgentEnv.
    if mode not in (AutoresetMode.NEXT_STEP, "next_step"):
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


def _check_drawn(env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig) -> None:
    """Try goals of every kind: some are drawn only after hours, or in the last evaluation."""
    try:
        env.unwrapped.get_attr("goal_weights")
    except AttributeError:
        raise GoalError(
            "curriculum: the envs can't be given their goals, since they are not those that "
            "add_vlm_reward wrapped. Call it after config.environment(...), or wrap your env in "
            "DrawnGoal."
        ) from None
    # The sub-envs of an AsyncVectorEnv are reset together, and take longer.
    sub_envs = getattr(env.unwrapped, "envs", None)
    reset, most = (sub_envs[0].reset, _TRIED) if sub_envs else (env.reset, _TRIED_TOGETHER)
    texts = config.goal_set.texts
    for text in texts[:: -(-len(texts) // most)]:
        try:
            reset(options={"goal": text})
        except GoalError:
            raise
        except Exception as error:
            raise GoalError(
                f"goal {text!r}: the env cannot pose it ({error!r}), and a curriculum or an "
                "evaluation would ask for it. Correct the goal, or let "
                "reset(options={'goal': ...}) make a world for it."
            ) from error


def _check_step(
    env: gym.vector.VectorEnv[Any, Any, Any], config: VLMRewardConfig, evaluates: bool
) -> None:
    infos: Any  # a list: RLlib wraps the env in DictInfoToList
    observations, infos = env.reset()
    if isinstance(env, VectorMultiAgentEnv):
        _check_agents(env, config, evaluates, observations, infos)
        return
    for observation, info in zip(unbatch(observations), infos, strict=True):
        episode_goal(config, observation, info, evaluation=evaluates)
    observations, _, _, _, infos = env.step(env.action_space.sample())
    rows = list(range(env.num_envs))
    collect_frames(config.frames.source, env, rows, unbatch(observations), infos)


def _check_agents(
    env: VectorMultiAgentEnv,
    config: VLMRewardConfig,
    evaluates: bool,
    observations: list[dict[Any, Any]],
    infos: list[dict[Any, Any]],
) -> None:
    spaces = env.single_action_space
    unknown = [agent for agent in config.agents if agent not in spaces.spaces]
    if unknown:
        raise RewardError(
            f"agents: got {unknown}, expected agents of the env: {sorted(spaces, key=str)}. "
            "Correct their names; a number and its digits in quotes are two."
        )
    for row in range(env.num_envs):
        for agent, observation in observations[row].items():
            reward = config.for_agent(agent)
            if reward is not None:
                episode_goal(reward, observation, infos[row].get(agent, {}), evaluation=evaluates)
    acting = [{agent: spaces[agent].sample() for agent in row} for row in observations]
    observations, _, _, _, infos = env.step(acting)
    for row in range(env.num_envs):
        for agent, observation in observations[row].items():
            reward = config.for_agent(agent)
            if reward is not None:
                info = infos[row].get(agent, {})
                collect_frames(reward.frames.source, env, [row], [observation], [info])
