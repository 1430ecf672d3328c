"""Stacks the last k frames for the policy."""

from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.connectors.env_to_module.observation_preprocessor import (
    SingleAgentObservationPreprocessor,
)
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.errors import ConfigError

__all__ = ["StackedFrames"]


class StackedFrames(SingleAgentObservationPreprocessor):  # type: ignore[misc]
    """Replaces the frame in an observation by the last k frames, ``[H, W, k * C]``, newest last.

    The frame is the observation itself, or ``observation["observation"]`` after
    :class:`~rllib_vlm_reward.connectors.GoalEmbedding`. The first frame of an episode is repeated
    until the episode has k frames. CLIP gets the unstacked frame, because
    :class:`~rllib_vlm_reward.connectors.reward.VLMReward` comes earlier in the pipeline.

    The stack is written into the episode, so it reaches every learner and replay buffer, and a
    buffer needs k times the memory. RLlib's own ``FrameStackingEnvToModule`` needs less memory
    because it stacks in the learner, but it accepts no Dict observations, and it does not stack
    ``next_obs`` for DQN and SAC.

    Args:
        num_frames: k, at least 1.

    Raises:
        ConfigError: k is less than 1, or the observation has no frame ``[H, W, C]``.

    Example:
        >>> piece = StackedFrames(4)
        >>> piece.input_observation_space = gym.spaces.Box(0, 255, (56, 56, 3), np.uint8)
        >>> piece.observation_space.shape
        (56, 56, 12)
    """

    def __init__(
        self,
        num_frames: int,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
    ) -> None:
        # Set before super(), which calls recompute_output_observation_space.
        if not isinstance(num_frames, int) or isinstance(num_frames, bool) or num_frames < 1:
            raise ConfigError(
                f"model_config: got stacked_frames {num_frames!r}, expected an integer of at least "
                "1. Correct the value."
            )
        self.num_frames = num_frames
        super().__init__(input_observation_space, input_action_space)

    def recompute_output_observation_space(
        self,
        input_observation_space: gym.Space[Any],
        input_action_space: gym.Space[Any],
    ) -> gym.Space[Any]:
        """Return the space whose frame has k times as many channels."""
        if isinstance(input_observation_space, gym.spaces.Dict):
            parts = dict(input_observation_space)
            parts["observation"] = self._stacked(parts.get("observation"))
            return gym.spaces.Dict(parts)
        return self._stacked(input_observation_space)

    def preprocess(self, observation: Any, episode: SingleAgentEpisode) -> Any:
        """Return the observation with the stack in place of its frame."""
        frame = _frame_of(observation)
        if len(episode) == 0:
            stack = np.concatenate([frame] * self.num_frames, axis=-1)
        else:
            before = self._stack_before(episode, frame)
            stack = np.concatenate([before[..., frame.shape[-1] :], frame], axis=-1)
        return {**observation, "observation": stack} if isinstance(observation, dict) else stack

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return k. The state must not be empty; see :meth:`.VLMReward.get_state`."""
        return {"num_frames": self.num_frames}

    def set_state(self, state: dict[str, Any]) -> None:
        """Do nothing: k comes from the configuration."""

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the first state, since all env runners have the same one."""
        return states[0]

    def _stack_before(self, episode: SingleAgentEpisode, frame: Any) -> Any:
        # The first observation of a chunk that continues an episode is a stack too.
        stack = _frame_of(episode.get_observations(-2))
        shape = (*frame.shape[:-1], self.num_frames * frame.shape[-1])
        if np.shape(stack) != shape:
            raise ConfigError(
                f"stacked_frames: got the shape {np.shape(stack)} for the previous observation, "
                f"expected {shape}. Remove the env-to-module connectors that rewrite observations, "
                "or remove stacked_frames."
            )
        return stack

    def _stacked(self, space: gym.Space[Any] | None) -> gym.spaces.Box:
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 3:
            raise ConfigError(
                f"model_config: got stacked_frames with the observation space {space}, expected a "
                "frame [H, W, C]. Give the policy frames, or remove stacked_frames."
            )
        low, high = (np.tile(bound, self.num_frames) for bound in (space.low, space.high))
        return gym.spaces.Box(low, high, dtype=space.dtype)  # type: ignore[arg-type]


def _frame_of(observation: Any) -> Any:
    return observation["observation"] if isinstance(observation, dict) else observation
