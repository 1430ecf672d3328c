"""Frames of an env runner's envs under random actions, on which precisions are compared."""

import contextlib
import time
from typing import Any

import numpy as np
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.env.vector.vector_multi_agent_env import VectorMultiAgentEnv
from ray.rllib.utils.spaces.space_utils import unbatch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.frame_source import RenderedOnce, collect_frames
from rllib_vlm_reward.frames import Frames

__all__ = ["play_frames"]

_MOST_FRAMES, _MOST_BYTES, _MOST_SECONDS = 64, 2**26, 10.0  # for each scorer


def play_frames(env_runner: EnvRunner, config: VLMRewardConfig) -> dict[str, Frames]:
    """Reset the env runner's envs, play random steps, and return all frames from the reset on.

    RLlib resets the envs again (with the env runner's seed) when sampling begins.

    Args:
        env_runner: the env runner.
        config: the reward of the run.

    Returns:
        By :func:`.key_of` each scorer (agents and experts have their own), up to 64 of its frames,
        uint8 ``[P, H, W, 3]``: those of the first size, up to 64 MB, played within 10 seconds. An
        error of the env ends the play, since it comes again, with its place, when sampling begins.
    """
    played = _Played(config)
    if env_runner.env is not None:
        with contextlib.suppress(Exception):  # which would restart a remote env runner
            _play(env_runner.env, played)
    return {scorer: np.stack(frames) for scorer, frames in played.frames.items() if frames}


class _Played:
    """The frames that were played, by scorer."""

    def __init__(self, config: VLMRewardConfig) -> None:
        self.config = config
        self.frames: dict[str, list[Frames]] = {}
        self._until = time.monotonic() + _MOST_SECONDS

    def add(
        self, agent: Any, env: Any, rows: list[int], observations: list[Any], infos: list[Any]
    ) -> None:
        reward = self.config.for_agent(agent)
        if reward is None:
            return
        for each, key in zip(reward.by_expert.values(), reward.rater.keys, strict=True):
            found = collect_frames(each.frames.source, env, rows, observations, infos)
            kept = self.frames.setdefault(key, [])
            for frame in found:
                room = len(kept) < _MOST_FRAMES and (len(kept) + 1) * frame.nbytes <= _MOST_BYTES
                if not kept or (room and frame.shape == kept[0].shape):
                    kept.append(frame.copy())  # the env may reuse its memory

    def is_enough(self, steps: int) -> bool:
        full = bool(self.frames) and all(
            len(kept) >= _MOST_FRAMES or (len(kept) + 1) * kept[0].nbytes > _MOST_BYTES
            for kept in self.frames.values()
        )
        return full or steps >= _MOST_FRAMES or time.monotonic() > self._until


def _play(env: Any, played: _Played) -> None:
    observations, infos = env.reset()
    with contextlib.suppress(Exception):  # a reset has no reward, so it may have no frame
        _add(env, played, observations, infos)
    steps = 0
    while not played.is_enough(steps):
        if isinstance(env, VectorMultiAgentEnv):
            spaces = env.single_action_space
            acting = [{agent: spaces[agent].sample() for agent in row} for row in observations]
            observations, _, _, _, infos = env.step(acting)
        else:
            observations, _, _, _, infos = env.step(env.action_space.sample())
        _add(env, played, observations, infos)
        steps += 1


def _add(env: Any, played: _Played, observations: Any, infos: Any) -> None:
    """Add the frames that the envs show now."""
    rows = list(range(env.num_envs))
    if not isinstance(env, VectorMultiAgentEnv):
        played.add(None, env, rows, unbatch(observations), infos)
        return
    rendered = RenderedOnce(env)
    for row in rows:
        for agent, observation in observations[row].items():
            played.add(agent, rendered, [row], [observation], [infos[row].get(agent, {})])
