"""Adds the goal to the policy's observation: the prompt's embedding, and where its thing is."""

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
from rllib_vlm_reward.connectors.custom_data import (
    FRAMES,
    GOAL_INDEX,
    GOAL_MAPS,
    GOAL_TEXT,
    SHOWN_GOAL,
)
from rllib_vlm_reward.connectors.episode_goal import goal_text
from rllib_vlm_reward.connectors.frame_source import frame_source
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.connectors.map_reader import MapReader
from rllib_vlm_reward.errors import CheckpointError, FrameError, GoalError, PoolError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.encoder import Encoder, check_encoder, checked, load_encoder
from rllib_vlm_reward.serving.pool import RewardPool

__all__ = ["GoalEmbedding", "shown"]


class GoalEmbedding(SingleAgentObservationPreprocessor):  # type: ignore[misc]
    """Turns an observation into ``{"observation": observation, "goal": float32 [D]}``.

    ``goal`` is the embedding of the goal's *prompt*, with norm 1. In an env runner, the piece
    requests it from the pool once for each goal. Put the piece after
    :class:`~rllib_vlm_reward.connectors.reward.VLMReward`, which finds the goal of an episode.

    With ``goal_map`` there is also ``map``, float32 ``[h, w, 1]``: the probability of the goal's
    noun in each patch of the frame. In an env runner, it comes with the answer that pays the frame.

    A checkpoint contains the embeddings of all goals. A pipeline that was restored to use a trained
    policy (``EnvToModulePipeline.from_checkpoint``) has no pool. There the piece reads the goal
    from ``episode.custom_data["goal_text"]``, or from the place that ``goal_source`` names, such as
    ``infos=[{"goal": TEXT}]`` of the episode. A policy with a single goal needs neither. If the
    goal is not in the checkpoint, the piece loads the CLIP in this process to embed it. With
    ``goal_map`` it always loads the CLIP, and reads the frame from ``shared_data["frames"]``, by
    the episode's id, or else from the place that ``frames.source`` names.

    Args:
        config: the reward of the run.
        embed_dim: D, the encoder's embedding size.

    Attributes:
        known: the goals that this process knows, shared with the other pieces of the pipeline.
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
        self.known = KnownGoals(config)
        self.embed_dim = embed_dim
        self._embeddings: dict[str, npt.NDArray[np.float32]] = {}  # by prompt
        self._prompts: dict[str, str] = {}  # by the text of a goal
        self._pool_name: str | None = None
        self._fingerprint: str | None = None
        self._encoder: Encoder | None = None
        self._reader: MapReader | None = None
        self._shared: Mapping[str, Any] = {}  # RLlib's shared_data of the present call
        super().__init__(input_observation_space, input_action_space)

    @property
    def shows_map(self) -> bool:
        """Whether the policy sees a map of where its goal is."""
        return bool(self.config.goal_map)

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
        missing = [prompt for prompt in self._prompts_known if prompt not in self._embeddings]
        if missing:
            embeddings = self._embed_by_pool(missing).clip(-1.0, 1.0)
            self._embeddings |= dict(zip(missing, embeddings, strict=True))

    @property
    def goals(self) -> npt.NDArray[np.float32]:
        """The embeddings of all prompts of the run, float32 ``[N, D]``; see :meth:`embed_goals`."""
        return np.stack([self._embeddings[prompt] for prompt in self._prompts_known])

    @property
    def _prompts_known(self) -> list[str]:
        return [*dict.fromkeys(goal.prompt for goal in self.known.all.goals)]

    def recompute_output_observation_space(
        self,
        input_observation_space: gym.Space[Any],
        input_action_space: gym.Space[Any],
    ) -> gym.Space[Any]:
        """Return ``Dict(observation=<input>, goal=Box(-1, 1, [D]))``, and ``map=Box(0, 1)``."""
        goal = gym.spaces.Box(-1.0, 1.0, (self.embed_dim,), np.float32)
        spaces = {"observation": input_observation_space, "goal": goal}
        if self.shows_map:
            spaces["map"] = gym.spaces.Box(0.0, 1.0, (*self.config.map_size, 1), np.float32)
        return gym.spaces.Dict(spaces)

    def __call__(self, *, shared_data: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Replace the newest observation of each episode (RLlib's hook)."""
        self._shared = shared_data or {}
        return super().__call__(shared_data=shared_data, **kwargs)

    def preprocess(self, observation: Any, episode: SingleAgentEpisode) -> dict[str, Any]:
        """Return the observation together with the embedding and the map of the episode's goal."""
        if self._pool_name is None:
            return self._preprocess_outside_training(observation, episode)
        data = episode.custom_data
        index = data.get(SHOWN_GOAL, data[GOAL_INDEX])
        parts = {
            "observation": observation,
            "goal": self._embedding(self.known.all[index].prompt),
        }
        if self.shows_map:
            parts["map"] = self._shared[GOAL_MAPS][episode.id_]
        return parts

    def _preprocess_outside_training(
        self, observation: Any, episode: SingleAgentEpisode
    ) -> dict[str, Any]:
        text = self._goal_outside_training(observation, episode)
        parts = {"observation": observation, "goal": self.embed(text)}
        if self.shows_map:
            frame = self._shared.get(FRAMES, {}).get(episode.id_)
            if frame is None:
                frame = self._find_frame(observation, episode)
            parts["map"] = self.read_map(frame, text)
        return parts

    def embed(self, text: str) -> npt.NDArray[np.float32]:
        """Return the embedding of a goal's prompt, float32 ``[D]``; the goal may be a new one.

        Raises:
            GoalError: no template fits the text, or the prompt is too long for the CLIP.
            CheckpointError: the piece has no pool, the goal is not in the checkpoint, and the CLIP
                cannot be loaded, or has other weights than in training.
        """
        if text not in self._prompts:
            self._prompts[text] = self.config.goal_of(text).prompt
        return self._embedding(self._prompts[text])

    def read_map(self, frame: Frames, text: str) -> npt.NDArray[np.float32]:
        """Return the map of a goal in a frame, read by the CLIP in this process.

        Args:
            frame: uint8 ``[H, W, 3]``, as ``frames.source`` gives it.
            text: text of the goal, which may be a new one.

        Returns:
            float32 ``[h, w, 1]``.

        Raises:
            GoalError: see :meth:`embed`; or the goal has no noun.
            FrameError: the frame is not such an array.
            CheckpointError: the CLIP cannot be loaded, or has other weights than in training.
        """
        if self._reader is None:
            encoder = self._load_encoder(
                "goal_map: the policy sees a map, and the CLIP that would make it"
            )
            self._reader = MapReader(self.config, encoder)
        return self._reader(frame, text)

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

    def _find_frame(self, observation: Any, episode: SingleAgentEpisode) -> Frames:
        source = self.config.frames.source
        infos: Any = episode.get_infos(-1) if len(episode.infos) else None
        try:
            (frame,) = frame_source(source)(None, [observation], [infos or {}])
        except FrameError as error:
            raise FrameError(
                "goal_map: this policy sees a map of the frame, and there is none to make it from "
                f"({error}) Pass the frame: Agent.act(observation, goal, frame=frame), or in "
                "RLlib's own way shared_data={'frames': {episode.id_: frame}}."
            ) from error
        return frame

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
        encoder = self._load_encoder(
            f"goal with the prompt {prompt!r}: its embedding is not in the checkpoint, and the "
            "CLIP that would make it"
        )
        # Warns of a text that the CLIP was never taught.
        goals = GoalSet.from_texts([prompt], num_negatives=0)
        check_encoder(self.config.encoder, goals=[goals])
        encoder.check_texts([prompt])
        embeddings = checked(encoder, "encode_texts", 1, [prompt])
        encoded: npt.NDArray[np.float32] = embeddings[0].detach().cpu().numpy()
        return encoded

    def _load_encoder(self, need: str) -> Encoder:
        """Return the CLIP of the training; ``need`` says for what, in errors."""
        if self._encoder is not None:
            return self._encoder
        name, remedy = self.config.encoder, "Restore the CLIP of the training."
        if not self.shows_map:
            number = len(self._embeddings)
            remedy += (
                f" The checkpoint has the embeddings of {number} other prompts, which need no CLIP."
            )
        try:
            encoder = load_encoder(name)  # whatever the precision, texts are encoded in fp32
        except CheckpointError as error:
            raise CheckpointError(f"{need} cannot be loaded: {error} {remedy}") from error
        if self._fingerprint not in (None, encoder.fingerprint):
            raise CheckpointError(
                f"{need} is another one: encoder {name!r}, its weights are "
                f"{encoder.fingerprint[:12]}, but the policy was trained with "
                f"{self._fingerprint[:12]}, so its input would be wrong. {remedy}"
            )
        self._encoder = encoder
        return encoder

    def _embed_by_pool(self, prompts: list[str]) -> npt.NDArray[np.float32]:
        assert self._pool_name is not None
        pool = RewardPool.connect(self._pool_name, self.config)
        try:
            return pool.embed_texts(prompts)
        except PoolError:
            pool.cancel()  # or this process could not end
            raise


def shown(observation: Any) -> dict[str, Any]:
    """Return what a policy is shown: the parts of the Dict that :class:`GoalEmbedding` makes.

    Args:
        observation: an observation, or a space of observations.

    Returns:
        The parts by name; none if the observation is the env's own.

    Example:
        >>> shown({"observation": 1, "goal": 2, "map": 3})
        {'observation': 1, 'goal': 2, 'map': 3}
        >>> shown({"observation": 1, "camera": 2})
        {}
    """
    if isinstance(observation, Mapping) and set(observation) - {"map"} == {"observation", "goal"}:
        return dict(observation)  # no space, in which "map" in space asks for a sample
    return {}
