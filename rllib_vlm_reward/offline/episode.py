"""One recorded episode: its frames, its goal and its rewards."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import msgpack
import msgpack_numpy
import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.serialization import gym_space_from_dict, gym_space_to_dict

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.connectors.episode_goal import episode_goal
from rllib_vlm_reward.connectors.frame_selection import REDUCTIONS, select_steps
from rllib_vlm_reward.connectors.frame_source import collect_frames, frame_source
from rllib_vlm_reward.connectors.goal_embedding import shown
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.reward_model.scorer import Scores, pay

__all__ = ["RecordedEpisode", "pay_steps"]


class RecordedEpisode:
    """An episode, or a chunk of one, as RLlib's ``output_write_episodes=True`` writes it.

    The steps in the lookback of a chunk get rewards too, as they do online.

    Args:
        row: msgpack of ``SingleAgentEpisode.get_state()``.

    Attributes:
        id: id of the episode.
        is_done: whether the episode terminated or was truncated.

    Raises:
        RewardError: the row is not such an episode.
    """

    def __init__(self, row: bytes) -> None:
        try:
            self._state = msgpack.unpackb(row, object_hook=msgpack_numpy.decode)
            episode = SingleAgentEpisode.from_state(self._state)  # also validates the state
            self._rewards = [float(reward) for reward in self._state["rewards"]["data"]]
            self._infos: list[dict[str, Any]] = [
                dict(info or {}) for info in self._state["infos"]["data"]
            ]
            self._env_rewards = [
                float(info.get(custom_data.ENV_REWARD, recorded))
                for info, recorded in zip(self._infos[1:], self._rewards, strict=True)
            ]
            self._custom_data = dict(self._state["custom_data"])
            lookback = int(self._state["rewards"]["lookback"])
            first = len(self._rewards) - len(episode)
            if not self._rewards or first != min(lookback, len(self._rewards)):
                raise ValueError(f"{len(self._rewards)} rewards for {len(episode)} steps")
        except Exception as error:  # a damaged row can raise any error
            raise RewardError(
                f"cannot be read as a recorded episode ({type(error).__name__}: {error}), expected "
                "msgpack of a SingleAgentEpisode's state. Record again with "
                "output_write_episodes=True, or remove the row."
            ) from error
        self._observations = self._state["observations"]
        self._first = first  # index of the first step after lookback
        self.id: str = episode.id_
        self.is_done = bool(episode.is_done)
        self._t_started = int(episode.t_started)

    def __len__(self) -> int:
        return len(self._rewards) - self._first

    def frames(self, source: str) -> Frames:
        """Return the frames to score, uint8 ``[N, H, W, 3]``: one after each of N steps.

        The N steps are those of the lookback and those of the chunk.

        Args:
            source: the name of a frame source, see :func:`.frame_source.frame_source`.

        Raises:
            FrameError: see :func:`.frame_source.collect_frames`; or the observations are stacks of
                several frames.
        """
        steps = range(1, len(self._rewards) + 1)
        observations = [self._observation(step, source) for step in steps]
        infos = [self._infos[step] for step in steps]
        if source.startswith("obs"):
            _refuse_stacks(source, frame_source(source).collect(None, observations, infos))
        return np.stack(collect_frames(source, None, [], observations, infos))

    def goal(self, config: VLMRewardConfig) -> int:
        """Return the index of the goal that the env named when it reset.

        Raises:
            GoalError: see :func:`.episode_goal.episode_goal`.
        """
        observation = self._observation(self._first, config.goal_source)
        info = self._infos[self._first]
        try:
            return episode_goal(KnownGoals(config), observation, info, evaluation=False)
        except GoalError as error:
            if not self._t_started:
                raise
            raise GoalError(
                f"{error} The episode is a chunk that starts at step {self._t_started}, so it does "
                "not contain the reset. Record with batch_mode='complete_episodes', let the env "
                "name the goal in every step's info, or set one goal for all episodes."
            ) from error

    def name_goal(self, goal_source: str, text: str) -> None:
        """Replace the goal in the infos, at the reset and wherever the env named its goal.

        Args:
            goal_source: ``info:KEY``.
            text: text of the new goal.
        """
        key = goal_source.partition(":")[2]
        for index, info in enumerate(self._infos):
            if index == self._first or key in info:
                info[key] = text

    @property
    def has_maps(self) -> bool:
        """Whether the policy saw a map of its goal beside each observation."""
        data = self._observations["data"]
        return "map" in shown(data if self._observations["finalized"] else data[0])

    @property
    def shown_goal(self) -> npt.NDArray[np.float32]:
        """The embedding that the policy saw with its last observation, of :attr:`has_maps`."""
        data = self._observations["data"]
        goals = data["goal"] if self._observations["finalized"] else [each["goal"] for each in data]
        return np.asarray(goals[-1])

    @property
    def map_size(self) -> tuple[int, ...]:
        """The numbers of patches down and across, of the maps of :attr:`has_maps`."""
        data = self._observations["data"]
        maps = data["map"] if self._observations["finalized"] else [each["map"] for each in data]
        return tuple(np.shape(maps[-1])[:2])

    def name_experts(self, experts: Sequence[str], scores: npt.NDArray[np.float32] | None) -> None:
        """Replace what each expert said in the infos, as happens online.

        Args:
            experts: the names of E experts.
            scores: float32 ``[N, E]`` for the steps of :meth:`frames`; None removes what was said.
        """
        for info in self._infos:
            info.pop(custom_data.EXPERT_SCORES, None)
        if scores is None:
            return
        for info, row in zip(self._infos[1:], scores.tolist(), strict=True):
            info[custom_data.EXPERT_SCORES] = dict(zip(experts, row, strict=True))

    def show_goal(self, embedding: npt.NDArray[np.float32]) -> None:
        """Add the goal's embedding, float32 ``[D]``, to each observation, as happens online.

        A map of the goal stays as the policy saw it. See
        :class:`~rllib_vlm_reward.connectors.GoalEmbedding`.
        """
        data, space = self._observations["data"], self._observations["space"]

        def beside(goal: Any, observation: Any) -> dict[str, Any]:
            inner = {"observation": _without_goal(observation)}
            return {**shown(observation), **inner, "goal": goal}

        if self._observations["finalized"]:
            new_data: Any = beside(np.tile(embedding, (len(self._rewards) + 1, 1)), data)
        else:
            new_data = [beside(embedding, each) for each in data]
        self._observations["data"] = new_data
        if space is not None:
            self._observations["space"] = _beside_goal(space, len(embedding))
        if self._state["_observation_space"] is not None:
            self._state["_observation_space"] = _beside_goal(
                self._state["_observation_space"], len(embedding)
            )

    def reward(self, scores: Scores, config: VLMRewardConfig) -> tuple[Scores, Scores]:
        """Write the rewards, and store the env's rewards in ``info["env_reward"]``.

        The env's reward is the recorded one. If the episode already had a VLM reward when it was
        recorded, it is the one in ``info["env_reward"]``.

        Args:
            scores: float32 ``[N]``, the scores of the frames.
            config: the reward.

        Returns:
            The VLM rewards and the rewards written, both float32 ``[T]``, without the lookback.

        Raises:
            RewardError: the episode is a chunk, but the reward has a window; or a reward of the env
                that the learner would see is not finite.
        """
        for info, env_reward in zip(self._infos[1:], self._env_rewards, strict=True):
            info.setdefault(custom_data.ENV_REWARD, env_reward)
        if config.frames.window > 1 and self._t_started:
            raise RewardError(
                f"frames.window: got {config.frames.window}, but the episode is a chunk that "
                f"starts at step {self._t_started}, so the frames before it are missing. Record "
                "with batch_mode='complete_episodes', or set frames: {window: 1}."
            )
        begin = self._t_started - self._first + 1
        weight = np.float32(config.env_reward_weight)
        paid = pay_steps(scores, config, first=begin, ends=self.is_done)
        env_rewards = np.array(self._env_rewards, np.float32)
        wrong = np.flatnonzero(~np.isfinite(env_rewards))
        if weight and len(wrong):
            raise RewardError(
                f"env_reward_weight {weight:g}: the recording has the env's reward "
                f"{self._env_rewards[wrong[0]]} at step {begin + wrong[0]}, expected a finite "
                "number, since the learner would see it. Set env_reward_weight: 0, or remove the "
                "row."
            )
        rewards = paid + weight * env_rewards if weight else paid
        data: Any = rewards.tolist()
        self._state["rewards"]["data"] = (
            np.array(data, np.float32) if self._state["rewards"]["finalized"] else data
        )
        return paid[self._first :], rewards[self._first :]

    def to_row(self, goal: int) -> bytes:
        """Return the episode as RLlib reads it.

        Args:
            goal: index of the goal, stored in the episode's ``custom_data``.
        """
        self._state["infos"]["data"] = self._infos
        data = {k: v for k, v in self._custom_data.items() if k not in custom_data.REWARD_KEYS}
        self._state["custom_data"] = {**data, custom_data.GOAL_INDEX: goal}
        row: bytes = msgpack.packb(self._state, default=msgpack_numpy.encode)
        return row

    def _observation(self, step: int, source: str) -> Any:
        data = self._observations["data"]
        observation = _at(data, step) if self._observations["finalized"] else data[step]
        kind, _, key = source.partition(":")
        if kind == "obs" and key and isinstance(observation, Mapping) and key in observation:
            return observation  # the env itself has this key
        return _without_goal(observation)


def pay_steps(scores: Scores, config: VLMRewardConfig, *, first: int, ends: bool) -> Scores:
    """Compute the VLM rewards of an episode's steps, as :class:`.connectors.VLMReward` does.

    With ``scored_steps: changed``, the rewards are those of ``all``, since an unchanged frame has
    the same score.

    Args:
        scores: float32 ``[N]``: the scores of the frames after N steps.
        config: the reward; only ``frames`` and ``threshold`` matter here.
        first: the number of the first step in its episode, from 1.
        ends: whether the last step ends the episode.

    Returns:
        float32 ``[N]``, the VLM rewards.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="small",
        ...     goals=["a ball", "a key"],
        ...     frames={"scored_steps": 2, "window": 2},
        ... )
        >>> scores = np.array([1.0, 0.25, 1.0, 0.75, 0.25], np.float32)
        >>> pay_steps(scores, config, first=1, ends=True)
        array([0.  , 0.25, 0.  , 0.5 , 0.5 ], dtype=float32)
    """
    t = np.arange(first, first + len(scores))
    last = np.zeros(len(scores), np.bool_)
    last[-1:] = ends
    scored = select_steps(config.frames.scored_steps, t, last)
    frame_scores, reduce = scores[scored].tolist(), REDUCTIONS[config.frames.reduce]
    windowed = np.zeros(len(scores), np.float32)
    windowed[scored] = [
        reduce(frame_scores[max(0, stop - config.frames.window) : stop])
        for stop in range(1, len(frame_scores) + 1)
    ]
    paid = pay(windowed, config.threshold_in_force)
    paid[~scored] = 0.0
    return paid


def _refuse_stacks(source: str, frames: Sequence[Any]) -> None:
    """Refuse observations that are stacks of frames, which is what the policy may have seen."""
    shape = np.shape(frames[0])
    number = 1
    if len(shape) == 4 and shape[-1] == 3:  # gymnasium's FrameStackObservation
        number = shape[0]
    elif len(shape) == 3 and shape[-1] % 3 == 0:
        number = 3 if shape[-1] == 3 and _are_grey_stacks(frames) else shape[-1] // 3
    if number > 1:
        raise FrameError(
            f"frames.source {source!r}: the recorded observations are stacks of {number} frames, "
            f"of the shape {list(shape)}, as the policy saw them (`stacked_frames`, or a wrapper "
            "of the env), expected single frames [H, W, 3]. Record again without stacks, or let "
            "the env put the frame into each info and set frames.source to info:KEY."
        )


def _are_grey_stacks(frames: Sequence[Any]) -> bool:
    """Return whether the channels of [H, W, 3] are three grey frames: each step moves them by one.

    Example:
        >>> grey = np.arange(8, dtype=np.uint8)
        >>> _are_grey_stacks([np.tile(grey[t : t + 3], (4, 4, 1)) for t in range(6)])
        True
        >>> _are_grey_stacks([np.full((4, 4, 3), t) for t in range(6)])
        False
    """
    pairs = [*itertools.pairwise(frames)]
    moved = all(np.array_equal(now[..., :2], old[..., 1:]) for old, now in pairs)
    # Where little happens, as before a blue light goes on, colours may look like that too.
    return moved and sum(not np.array_equal(old, now) for old, now in pairs) > 2


def _at(data: Any, step: int) -> Any:
    """Return one observation of an episode whose observations are arrays over time."""
    if isinstance(data, Mapping):
        return {key: _at(value, step) for key, value in data.items()}
    return data[step]


def _without_goal(observation: Any) -> Any:
    """Return the env's observation, without what GoalEmbedding has added."""
    return shown(observation).get("observation", observation)


def _beside_goal(space: dict[str, Any], dim: int) -> dict[str, Any]:
    given = gym_space_from_dict(space)
    spaces = shown(given)
    spaces["observation"] = spaces.get("observation", given)
    spaces["goal"] = gym.spaces.Box(-1.0, 1.0, (dim,), np.float32)
    both: dict[str, Any] = gym_space_to_dict(gym.spaces.Dict(spaces))
    return both
