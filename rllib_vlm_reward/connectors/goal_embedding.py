"""Adds the goal to the policy's observation: CLIP's embedding of the goal's prompt."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from ray.rllib.connectors.env_to_module.observation_preprocessor import (
    SingleAgentObservationPreprocessor,
)
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import goal_text
from rllib_vlm_reward.connectors.custom_data import GOAL_INDEX, GOAL_TEXT, SHOWN_GOAL
from rllib_vlm_reward.errors import CheckpointError, GoalError, PoolError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.encoder import Encoder, check_encoder, checked, load_encoder
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["GoalEmbedding"]


class GoalEmbedding(SingleAgentObservationPreprocessor):  # type: ignore[misc]
    """Turns an observation into ``{"observation": observation, "goal": float32 [D]}``.

    ``goal`` is the embedding of the goal's *prompt*, with norm 1. In an env runner, the piece
    requests it from the pool once for each goal. Put the piece after
    :class:`~rllib_vlm_reward.connectors.reward.VLMReward`, which finds the goal of an episode.

    A checkpoint contains the embeddings of all goals. A pipeline that was restored to use a trained
    policy (``EnvToModulePipeline.from_checkpoint``) has no pool. There the piece reads the goal
    from ``episode.custom_data["goal_text"]``, or from the place that ``goal_source`` names, such as
    ``infos=[{"goal": TEXT}]`` of the episode. A policy with a single goal needs neither. If the
    goal is not in the checkpoint, the piece loads the CLIP in this process to embed it.

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
        self._embeddings: dict[str, npt.NDArray[np.float32]] = {}  # by prompt
        self._prompts: dict[str, str] = {}  # by the text of a goal
        self._pool_name: str | None = None
        self._fingerprint: str | None = None
        self._encoder: Encoder | None = None
        super().__init__(input_observation_space, input_action_space)

    def attach(self, pool_name: str, *, encoder: str | None = None) -> None:
        """Set the pool that computes the embeddings.

        Args:
            pool_name: Ray name of the pool; the piece connects to it when it first needs it.
            encoder: fingerprint of the pool's weights, for checkpoints.
        """
        if pool_name != self._pool_name:
            self._embeddings.clear()
        self._pool_name, self._fingerprint = pool_name, encoder

    def embed_goals(self) -> None:
        """Request the embeddings of all goals, for checkpoints; the pool has computed them."""
        prompts = list(dict.fromkeys(goal.prompt for goal in self.config.goal_set.goals))
        embeddings = self._embed_by_pool(prompts).clip(-1.0, 1.0)
        self._embeddings = dict(zip(prompts, embeddings, strict=True))

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
        if self._pool_name is None:
            goal = self.embed(self._goal_outside_training(observation, episode))
        else:
            goal = self._embedding(self.config.goal_set[self._shown(episode)].prompt)
        return {"observation": observation, "goal": goal}

    def embed(self, text: str) -> npt.NDArray[np.float32]:
        """Return the embedding of a goal's prompt, float32 ``[D]``; the goal may be a new one.

        Raises:
            GoalError: no template fits the text, or the prompt is too long for the CLIP.
            CheckpointError: the piece has no pool, the goal is not in the checkpoint, and the CLIP
                cannot be loaded, or has other weights than in training.
        """
        if text not in self._prompts:
            self._prompts[text] = self.config.prompt_of(text)
        return self._embedding(self._prompts[text])

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the fingerprint of the goals.

        The state must not be empty; see :meth:`.VLMReward.get_state`.
        """
        return {"goals": self.config.goal_set.fingerprint}

    def set_state(self, state: dict[str, Any]) -> None:
        """Use a checkpoint's embeddings if the piece has no pool.

        The goals come from the configuration.
        """
        if self._pool_name is None and "embeddings" in state:
            self._embeddings, self._fingerprint = dict(state["embeddings"]), state["encoder"]

    def save_to_path(
        self, path: Any = None, *, state: dict[str, Any] | None = None, **kwargs: Any
    ) -> str:
        """Save the embeddings too (RLlib's hook).

        :meth:`get_state` does not return them, because RLlib sends that to every env runner.
        """
        kept = {"encoder": self._fingerprint, "embeddings": self._embeddings}
        saved: str = super().save_to_path(
            path, state={**(state or self.get_state()), **kept}, **kwargs
        )
        return saved

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

    def _goal_outside_training(self, observation: Any, episode: SingleAgentEpisode) -> str:
        """Return the text of the episode's goal if there is no pool and no reward."""
        if GOAL_TEXT not in episode.custom_data:
            goals = self.config.goal_set
            episode.custom_data[GOAL_TEXT] = (
                goals[0].text if len(goals) == 1 else self._find_goal(observation, episode)
            )
        text: str = episode.custom_data[GOAL_TEXT]
        return text

    def _find_goal(self, observation: Any, episode: SingleAgentEpisode) -> str:
        # An episode in RLlib's examples has no infos.
        infos: Any = episode.get_infos(-1) if len(episode.infos) else None
        info: Mapping[str, Any] = infos or {}
        try:
            return goal_text(self.config.goal_source, observation, info)
        except GoalError as error:
            raise GoalError(
                "GoalEmbedding: this policy needs a goal, but the episode names none "
                f"({error}). Set episode.custom_data[{GOAL_TEXT!r}] = TEXT before its first step, "
                "or use rllib_vlm_reward.Agent. It was trained on "
                f"{self.config.goal_set.excerpt}."
            ) from error

    def _embedding(self, prompt: str) -> npt.NDArray[np.float32]:
        if prompt not in self._embeddings:
            if self._pool_name is None:
                embedding = self._encode(prompt)
            else:
                (embedding,) = self._embed_by_pool([prompt])
            self._embeddings[prompt] = embedding.clip(-1.0, 1.0)
        return self._embeddings[prompt]

    def _encode(self, prompt: str) -> npt.NDArray[np.float32]:
        """Embed a prompt with the CLIP in this process."""
        if self._encoder is None:
            self._encoder = self._load_encoder(prompt)
        # Warns of a text that the CLIP was never taught.
        goals = GoalSet.from_texts([prompt], num_negatives=0)
        check_encoder(self.config.encoder, goals=[goals])
        self._encoder.check_texts([prompt])
        embeddings = checked(self._encoder, "encode_texts", 1, [prompt])
        encoded: npt.NDArray[np.float32] = embeddings[0].detach().cpu().numpy()
        return encoded

    def _load_encoder(self, prompt: str) -> Encoder:
        name = self.config.encoder
        known = (
            f"The checkpoint has the embeddings of {len(self._embeddings)} other prompts, which "
            "need no CLIP."
        )
        try:
            encoder = load_encoder(name)  # whatever the precision, texts are encoded in fp32
        except CheckpointError as error:
            raise CheckpointError(
                f"goal with the prompt {prompt!r}: its embedding is not in the checkpoint, and the "
                f"CLIP that would make it cannot be loaded: {error} {known}"
            ) from error
        if self._fingerprint not in (None, encoder.fingerprint):
            raise CheckpointError(
                f"encoder {name!r}: its weights are {encoder.fingerprint[:12]}, but the policy was "
                f"trained with {self._fingerprint[:12]}, so the embedding of {prompt!r} would be "
                f"wrong. Restore the CLIP of the training. {known}"
            )
        return encoder

    def _embed_by_pool(self, prompts: list[str]) -> npt.NDArray[np.float32]:
        assert self._pool_name is not None
        pool = RewardPool.connect(self._pool_name, self.config)
        try:
            return pool.embed_texts(prompts)
        except PoolError:
            pool.cancel()  # or this process could not end
            raise
