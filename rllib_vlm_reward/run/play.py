"""Plays a run's trained agent in the run's env: to watch it, and for numbers."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import collect_frames, goal_text
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError
from rllib_vlm_reward.run.agent import Agent
from rllib_vlm_reward.run.evaluator import Moment
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.run_env import make_env

__all__ = ["PlayedEpisode", "play"]


@dataclasses.dataclass(frozen=True, slots=True)
class PlayedEpisode:
    """What an agent did in one episode.

    Attributes:
        goal: what it pursued; None where neither the env nor the run names a goal.
        success: whether a step was one, by ground truth; None where the env reports none, or posed
            another goal than the agent pursued.
        env_return: the sum of the env's own rewards.
        length: the number of its steps.
        moments: the frame after each step, without scores; empty unless pictures were asked for.
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
    """Play a run's agent without exploration; needs neither Ray nor, for known goals, the CLIP.

    Args:
        folder: of a run, with ``config.yaml`` and ``checkpoint/``.
        episodes: how many.
        goal: text of the goal, requested from the env by ``reset(options={"goal": goal})``; a
            policy that is told its goal pursues it, whatever the env poses. None leaves the choice
            to the env.
        seed: of the first episode's layout; each later one has the next number.
        pictures: keep the frames, those that CLIP saw in training.
        render: open the env's window, with ``render_mode="human"``.

    Yields:
        Each episode when it has ended.

    Raises:
        ConfigError: the folder holds no run of a single agent.
        CheckpointError, GoalError: what :class:`.Agent` refuses; a goal that the env does not pose
            to a policy that has no input for it.
        FrameError: the env has no window, or gives no frames.

    Example:
        >>> for episode in play(Path("runs/quickstart"), episodes=2):  # doctest: +SKIP
        ...     print(episode.goal, episode.success)
    """
    experiment = _read(folder)
    agent = Agent.load(folder)
    if render:
        experiment = _in_a_window(experiment)
    with contextlib.closing(make_env(experiment)) as vector_env:
        if render and vector_env.envs[0].render_mode != "human":
            raise FrameError(
                f"env {experiment.environment['env']!r}: got the render mode "
                f"{vector_env.envs[0].render_mode!r}, expected 'human', in which it opens a "
                "window. Let the env take render_mode from env_config, or make a GIF."
            )
        for index in range(episodes):
            yield _play(agent, vector_env, experiment.vlm_reward, goal, seed + index, pictures)


def _read(folder: Path) -> Experiment:
    path = folder / "config.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{folder}: got a folder without config.yaml, expected that of a run of "
            "`rllib-vlm-reward train`, which names the env. For a checkpoint of RLlib's use "
            "rllib_vlm_reward.Agent.load in Python, with an env of yours."
        )
    return Experiment.from_file(path)


def _in_a_window(experiment: Experiment) -> Experiment:
    environment = experiment.environment
    settings = {**environment.get("env_config", {}), "render_mode": "human"}
    return experiment.model_copy(update={"environment": {**environment, "env_config": settings}})


def _play(
    agent: Agent,
    vector_env: gym.vector.SyncVectorEnv,
    reward: VLMRewardConfig,
    goal: str | None,
    seed: int,
    pictures: bool,
) -> PlayedEpisode:
    env = vector_env.envs[0]
    agent.reset()
    options = None if goal is None else {"goal": goal}
    observation, info = env.reset(seed=seed, options=options)
    posed = _posed(reward, observation, info)
    if goal not in (None, posed) and not agent.is_told_its_goal:
        raise GoalError(
            f"goal {goal!r}: the env posed {posed!r}, and this policy has no input for another "
            "goal. Let the env honour reset(options={'goal': ...}), or train with goal_embedding."
        )
    pursued = posed if goal is None else goal
    told = pursued if agent.is_told_its_goal else None
    rewards: list[float] = []
    successes: list[bool] = []
    moments: list[Moment] = []
    done = False
    while not done:
        observation, paid, terminated, truncated, info = env.step(agent.act(observation, told))
        rewards.append(float(paid))
        if reward.success_key in info:
            successes.append(bool(info[reward.success_key]))
        if pictures:
            frames = collect_frames(
                reward.frames.source, vector_env, [0], [observation], [dict(info)]
            )
            shown = frames[0].copy()
            moments.append(Moment(str(seed), len(rewards), shown, pursued or "", None, info))
        done = terminated or truncated
    known = bool(successes) and pursued == posed
    return PlayedEpisode(
        pursued, any(successes) if known else None, sum(rewards), len(rewards), tuple(moments)
    )


def _posed(reward: VLMRewardConfig, observation: Any, info: Mapping[str, Any]) -> str | None:
    """Return the goal that the env posed: where the run has a single one, that."""
    if len(reward.goal_set) == 1:
        return reward.goal_set[0].text
    try:
        return goal_text(reward.goal_source, observation, info)
    except GoalError:
        return None
