"""Plays a run's trained agent in the run's env."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.episode_goal import goal_text
from rllib_vlm_reward.connectors.frame_source import collect_frames
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.agent import Agent
from rllib_vlm_reward.run.evaluator import Moment
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.run_env import make_env

__all__ = ["PlayedEpisode", "play"]


@dataclasses.dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """The result of one episode.

    Attributes:
        goal: the goal that the agent pursued; None if neither the env nor the run names a goal.
        success: whether any step was a success by ground truth; None if the env reports no ground
            truth, or had another goal than the agent.
        env_return: sum of the env's rewards.
        length: number of steps.
        moments: the frame after each step, without scores; empty without ``pictures``.
    """

    goal: str | None
    success: bool | None
    env_return: float
    length: int
    moments: tuple[Moment, ...]


def play(
    folder: Path,
    *,
    episodes: int,
    goal: str | None = None,
    seed: int = 0,
    pictures: bool = False,
    render: bool = False,
) -> Iterator[PlayedEpisode]:
    """Play a run's agent, with exploration only if the run is evaluated with it.

    It does not start Ray. It loads the CLIP only for a goal that the run did not have, and for a
    policy that sees a map of the goal.

    Args:
        folder: folder of a run, with ``config.yaml`` and ``checkpoint/``.
        episodes: number of episodes.
        goal: text of the goal, requested by ``reset(options={"goal": goal})``. A policy with an
            input for a goal pursues this goal even if the env chooses another one. None leaves the
            choice to the env.
        seed: seed of the first episode's layout, and of its actions if the agent explores; each
            further episode has the next seed.
        pictures: whether to keep the frames, which come from ``frames.source``.
        render: whether to open the env's window, with ``render_mode="human"``.

    Yields:
        The result of each episode when it has ended.

    Raises:
        ConfigError: the folder has no run of a single agent.
        CheckpointError: see :class:`.Agent`.
        GoalError: see :class:`.Agent`; or the env chose another goal, and the policy has no input
            for the requested one.
        FrameError: the env has no window, or gives no frames; or the policy sees a map of rendered
            frames, and ``render`` is set.

    Example:
        >>> for episode in play(Path("runs/quickstart"), episodes=2):  # doctest: +SKIP
        ...     print(episode.goal, episode.success)
    """
    experiment = _read(folder)
    agent = Agent.load(folder)
    if render:
        if agent.sees_map and experiment.vlm_reward.frames.source == "render":
            raise FrameError(
                "--render: this policy sees a map of the rendered frames, and an env in a window "
                "renders none. Leave --render out, or make a GIF."
            )
        experiment = _in_a_window(experiment)
    with contextlib.closing(make_env(experiment)) as vector_env:
        if render and vector_env.envs[0].render_mode != "human":
            raise FrameError(
                f"env {experiment.environment['env']!r}: got the render mode "
                f"{vector_env.envs[0].render_mode!r}, expected 'human', in which it opens a "
                "window. Let the env take render_mode from env_config, or make a GIF."
            )
        for index in range(episodes):
            yield _play(agent, vector_env, experiment, goal, seed + index, pictures)


def _read(folder: Path) -> Experiment:
    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{folder}: got a folder without config.yaml, expected the folder of a run of "
            "`rllib-vlm-reward train`, since config.yaml names the env. For an RLlib checkpoint, "
            "use rllib_vlm_reward.Agent.load in Python, with your own env."
        )
    return Experiment.from_file(path)


def _in_a_window(experiment: Experiment) -> Experiment:
    environment = experiment.environment
    settings = {**environment.get("env_config", {}), "render_mode": "human"}
    return experiment.model_copy(update={"environment": {**environment, "env_config": settings}})


def _play(
    agent: Agent,
    vector_env: gym.vector.SyncVectorEnv,
    experiment: Experiment,
    goal: str | None,
    seed: int,
    pictures: bool,
) -> PlayedEpisode:
    env, reward = vector_env.envs[0], experiment.vlm_reward
    if experiment.evaluation_explores:
        torch.manual_seed(seed)  # of the actions
    agent.reset()
    options = None if goal is None else {"goal": goal}
    observation, info = env.reset(seed=seed, options=options)
    chosen = _chosen_goal(reward, observation, info)
    if goal not in (None, chosen) and not agent.takes_goal:
        raise GoalError(
            f"goal {goal!r}: the env chose {chosen!r}, and this policy has no input for another "
            "goal. Let the env honour reset(options={'goal': ...}), or train with goal_embedding."
        )
    pursued = chosen if goal is None else goal
    goal_input = pursued if agent.takes_goal else None
    rewards: list[float] = []
    successes: list[bool] = []
    moments: list[Moment] = []
    done = False

    def frame() -> Frames:
        source = reward.sources[0]
        collected = collect_frames(source, vector_env, [0], [observation], [dict(info)])
        copied: Frames = collected[0].copy()
        return copied

    while not done:
        seen = frame() if agent.sees_map else None
        explore = experiment.evaluation_explores
        action = agent.act(observation, goal_input, frame=seen, explore=explore)
        observation, paid, terminated, truncated, info = env.step(action)
        rewards.append(float(paid))
        success = None
        if pursued == chosen and reward.success_key in info:
            success = bool(info[reward.success_key])
            successes.append(success)
        if pictures:
            shown, text = frame(), pursued or ""
            goal_map = agent.read_map(shown, text) if agent.sees_map else None
            moments.append(
                Moment(str(seed), len(rewards), shown, text, None, success, info, goal_map)
            )
        done = terminated or truncated
    outcome = any(successes) if successes else None
    return PlayedEpisode(pursued, outcome, sum(rewards), len(rewards), tuple(moments))


def _chosen_goal(reward: VLMRewardConfig, observation: Any, info: Mapping[str, Any]) -> str | None:
    """Return the goal that the env chose, or the only goal of the run."""
    if len(reward.goal_set) == 1:
        return reward.goal_set[0].text
    try:
        return goal_text(reward.goal_source, observation, info)
    except GoalError:
        return None
