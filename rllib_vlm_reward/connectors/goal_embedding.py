"""Adds the goal to the policy's observation: CLIP's embedding of the goal's prompt."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from ray.rllib.connectors.env_to_module.observation_preprocessor import (
    SingleAgentObservationPreprocessor,
)
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.custom_data import GOAL_INDEX, SHOWN_GOAL
from rllib_vlm_reward.connectors.failure import reported
from rllib_vlm_reward.errors import PoolError
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["GoalEmbedding"]


class GoalEmbedding(SingleAgentObservationPreprocessor):  # type: ignore[misc]
    """Turns an observation into ``{"observation": observation, "goal": float32 [D]}``.

    ``goal`` is the embedding of the goal's *prompt*, with norm 1. The piece requests it from the
    pool once for each goal. Put the piece after
    :class:`~rllib_vlm_reward.connectors.reward.VLMReward`, which finds the goal of an episode.

    Args:
        config: the reward of the run.
        embed_dim: D, the encoder's embedding size.

    Attributes:
        shuffle: whether to show the policy another goal, drawn at random once for each episode.
            This gives the goal-blind baseline.
    """

    def __init__(
        self,
        config: VLMRewardConfig,
        embed_dim: int,
        input_observation_space: gym.Space[Any] | None = None,
        input_action_space: gym.Space[Any] | None = None,
    ) -> None:
        # Set before super(), which calls recompute_output_observation_space.
        self.config = config
        self.embed_dim = embed_dim
        self.shuffle = False
        self._rng = np.random.default_rng(config.negatives_seed)
        self._embeddings: dict[int, npt.NDArray[np.float32]] = {}
        self._pool_name: str | None = None
        self._run = ""
        super().__init__(input_observation_space, input_action_space)

    def attach(self, pool_name: str, run: str = "") -> None:
        """Set the pool that computes the embeddings, and the run for which it does.

        Args:
            pool_name: Ray name of the pool; the piece connects to it when it first needs it.
            run: name of the run, for error reports.
        """
        self._pool_name, self._run = pool_name, run

    def recompute_output_observation_space(
        self,
        input_observation_space: gym.Space[Any],
        input_action_space: gym.Space[Any],
    ) -> gym.Space[Any]:
        """Return ``Dict(observation=<input>, goal=Box(-1, 1, [D], float32))``."""
        goal = gym.spaces.Box(-1.0, 1.0, (self.embed_dim,), np.float32)
        return gym.spaces.Dict({"observation": input_observation_space, "goal": goal})

    def preprocess(self, observation: Any, episode: SingleAgentEpisode) -> dict[str, Any]:
        """Return the observation together with the embedding of the episode's goal."""
        return {"observation": observation, "goal": self._embedding(self._shown(episode))}

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the fingerprint of the goals.

        The state must not be empty; see :meth:`.VLMReward.get_state`.
        """
        return {"goals": self.config.goal_set.fingerprint}

    def set_state(self, state: dict[str, Any]) -> None:
        """Do nothing: the goals come from the configuration."""

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the first state, since all env runners have the same one."""
        return states[0]

    def _shown(self, episode: SingleAgentEpisode) -> int:
        index: int = episode.custom_data[GOAL_INDEX]
        if not self.shuffle:
            return index
        if SHOWN_GOAL not in episode.custom_data:
            goals = self.config.goal_set.goals
            # Paraphrases of a goal may have the same prompt, and so the same embedding.
            others = [i for i, goal in enumerate(goals) if goal.prompt != goals[index].prompt]
            drawn = int(self._rng.choice(others)) if others else index
            episode.custom_data[SHOWN_GOAL] = drawn
        shown: int = episode.custom_data[SHOWN_GOAL]
        return shown

    def _embedding(self, goal: int) -> npt.NDArray[np.float32]:
        if goal not in self._embeddings:
            prompt = self.config.goal_set[goal].prompt
            with reported(self._pool, self._run):
                self._embeddings[goal] = self._pool().embed_texts([prompt])[0].clip(-1.0, 1.0)
        return self._embeddings[goal]

    def _pool(self) -> RewardPool:
        if self._pool_name is None:
            raise PoolError(
                "GoalEmbedding: no pool was started for this env runner. Call add_vlm_reward "
                "after config.callbacks(...), which replaces the callbacks that start it."
            )
        return RewardPool.connect(self._pool_name, self.config)
