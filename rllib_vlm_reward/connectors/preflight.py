"""Looks at one env runner before training: can frames and goals be had?"""

import traceback
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.vector.vector_multi_agent_env import VectorMultiAgentEnv
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import collect_frames, episode_goal
from rllib_vlm_reward.connectors.goal_embedding import GoalEmbedding
from rllib_vlm_reward.connectors.goal_weights import GoalWeights
from rllib_vlm_reward.connectors.highlights import MOST_RUNNERS
from rllib_vlm_reward.connectors.reward import VLMReward
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError

__all__ = ["attach_pieces", "own_pipeline", "preflight", "reward_piece", "weights_piece"]

_POSED, _POSED_TOGETHER = 256, 16


def reward_piece(env_runner: EnvRunner) -> VLMReward:
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


def weights_piece(pipeline: EnvToModulePipeline) -> GoalWeights | None:
    """Return the piece that draws goals by a curriculum, if there is one."""
    return next((piece for piece in pipeline.connectors if isinstance(piece, GoalWeights)), None)


def own_pipeline(algorithm: Algorithm) -> EnvToModulePipeline | None:
    """Return the algorithm's own pipeline, whose state is what checkpoints hold."""
    runner = algorithm.env_runner
    return algorithm.env_to_module_connector if runner is None else runner._env_to_module


def attach_pieces(
    env_runner: EnvRunner,
    pool_name: str,
    run: str,
    *,
    encoder: str | None = None,
    evaluates: bool = False,
    highlights: bool = False,
) -> None:
    """Tell the env runner's pieces which pool to ask, in which run's name, and what for.

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


def preflight(
    env_runner: EnvRunner, config: VLMRewardConfig, *, evaluates: bool = False
) -> Exception | None:
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
        if weights_piece(env_runner._env_to_module) is not None:
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
    """Pose goals of every kind: some are drawn only after hours, or in the last evaluation."""
    try:
        env.unwrapped.get_attr("goal_weights")
    except AttributeError:
        raise GoalError(
            "curriculum: the envs can't be told their goals, since they are not those that "
            "add_vlm_reward wrapped. Call it after config.environment(...), or wrap your env in "
            "DrawnGoal."
        ) from None
    # The sub-envs of an AsyncVectorEnv are reset together, and take longer.
    own = getattr(env.unwrapped, "envs", None)
    pose, most = (own[0].reset, _POSED) if own else (env.reset, _POSED_TOGETHER)
    texts = config.goal_set.texts
    for text in texts[:: -(-len(texts) // most)]:
        try:
            pose(options={"goal": text})
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
    collect_frames(config.frame_source, env, rows, unbatch(observations), infos)


def _check_agents(
    env: VectorMultiAgentEnv,
    config: VLMRewardConfig,
    evaluates: bool,
    observations: list[dict[Any, Any]],
    infos: list[dict[Any, Any]],
) -> None:
    spaces = env.single_action_space
    strangers = [agent for agent in config.agents if agent not in spaces.spaces]
    if strangers:
        raise RewardError(
            f"agents: got {strangers}, expected agents of the env: {sorted(spaces, key=str)}. "
            "Correct their names; a number and its digits in quotes are two."
        )
    for row in range(env.num_envs):
        for agent, observation in observations[row].items():
            own = config.for_agent(agent)
            if own is not None:
                episode_goal(own, observation, infos[row].get(agent, {}), evaluation=evaluates)
    acting = [{agent: spaces[agent].sample() for agent in row} for row in observations]
    observations, _, _, _, infos = env.step(acting)
    for row in range(env.num_envs):
        for agent, observation in observations[row].items():
            own = config.for_agent(agent)
            if own is not None:
                info = infos[row].get(agent, {})
                collect_frames(own.frame_source, env, [row], [observation], [info])
