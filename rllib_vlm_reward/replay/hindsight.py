"""Replay buffers that add copies of episodes for other goals that these reached by chance."""

import collections
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils import force_list
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
from ray.rllib.utils.replay_buffers.prioritized_episode_buffer import (
    PrioritizedEpisodeReplayBuffer,
)

from rllib_vlm_reward.connectors.custom_data import FIRES, FIRST_STEPS, GOAL_INDEX, SHOWN_GOAL
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.warnings import warn_once

__all__ = [
    "Hindsight",
    "HindsightEpisodeReplayBuffer",
    "HindsightPrioritizedEpisodeReplayBuffer",
    "with_hindsight",
]

_LOG = logging.getLogger(__name__)
_MOST_IN_VAIN = 200  # episodes that end before the first copy


class Hindsight:
    """What a replay buffer does beside storing episodes; it is joined with a buffer of RLlib.

    When an episode has ended, the buffer adds copies of it: one for each goal that held after a
    step, but not at the reset and not as the episode's own goal. A copy ends with the first such
    step. It is terminated there, with the reward 1, and has the reward 0 before. Its observations
    show the goal that was reached. If there are more goals than ``copies``, those are taken that
    were reached in the fewest episodes so far.

    RLlib adds an episode in the chunks in which it was sampled, and joins them. The copies are made
    from the joined episode. If its beginning has left the buffer, there are none.

    Args:
        copies: how many copies of an episode are made at most.
        **kwargs: arguments of RLlib's buffer.

    Attributes:
        embeddings: float32 ``[D]`` by the index of a goal: what the policy is shown of it.
    """

    def __init__(self, *args: Any, copies: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.copies = copies
        self.embeddings: Mapping[int, npt.NDArray[np.float32]] = {}
        self._reached: collections.Counter[int] = collections.Counter()
        self._num_ended = self._num_copies = 0
        # Until the first copy is made: of the episodes that ended, and of how many the beginning
        # had left the buffer.
        self._in_vain: list[bool] | None = []

    def add(self, episodes: Any, *args: Any, **kwargs: Any) -> None:
        """Add chunks of episodes, and copies of the episodes that they end (RLlib's hook)."""
        parent: Any = super()
        parent.add(episodes, *args, **kwargs)
        ended = [chunk for chunk in force_list(episodes) if chunk.is_done]
        copies = [copy for chunk in ended for copy in self._copies_of(chunk.id_)]
        self._num_ended += len(ended)
        self._num_copies += len(copies)
        self._warn(ended, copies)
        for group in self._fitting(copies):
            parent.add(group, *args, **kwargs)

    def take_counts(self) -> tuple[int, int, int]:
        """Return counts for the metrics, and forget the first two.

        Returns:
            How many episodes ended, how many copies were made, and how many different goals were
            reached by chance since training began.
        """
        counts = self._num_ended, self._num_copies, len(self._reached)
        self._num_ended = self._num_copies = 0
        return counts

    def get_state(self) -> dict[str, Any]:
        """Return the buffer's state, and how often each goal was reached (RLlib's hook)."""
        parent: Any = super()
        return {**parent.get_state(), "reached": dict(self._reached)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Set what :meth:`get_state` returned; or the state of a buffer without hindsight."""
        parent: Any = super()
        parent.set_state(state)
        self._reached = collections.Counter(state.get("reached", {}))

    def _fitting(self, copies: Iterable[SingleAgentEpisode]) -> Iterator[list[SingleAgentEpisode]]:
        """Divide copies into groups that fit into the buffer.

        RLlib 2.60's prioritised buffer raises an IndexError if the episodes of one call do not.
        """
        buffer: Any = self
        group: list[SingleAgentEpisode] = []
        for copy in copies:
            if group and sum(map(len, group)) + len(copy) > buffer.capacity:
                yield group
                group = []
            group.append(copy)
        if group:
            yield group

    def _warn(self, ended: list[SingleAgentEpisode], copies: list[SingleAgentEpisode]) -> None:
        if any(chunk.custom_data.get(FIRES, 0) > 1 for chunk in ended):
            warn_once(
                _LOG,
                "hindsight: an episode was paid more than once, but a copy ends where its goal is "
                "reached, so the agent learns two values for the same. Let the env end its "
                "episodes on success, or set early_end: true.",
            )
        if copies:
            self._in_vain = None
        if self._in_vain is None:
            return
        self._in_vain += [self._whole(chunk.id_) is None for chunk in ended]
        if len(self._in_vain) >= _MOST_IN_VAIN:
            gone = sum(self._in_vain)
            warn_once(
                _LOG,
                f"hindsight: {len(self._in_vain)} episodes ended, and no copy was made: of {gone} "
                "the beginning had left the replay buffer, and the others reached no other goal "
                "after their reset. Set a larger capacity, or check the threshold and the goals.",
            )
            self._in_vain = None

    def _copies_of(self, id_: str) -> Iterator[SingleAgentEpisode]:
        episode = self._whole(id_)
        if episode is None or SHOWN_GOAL in episode.custom_data:
            return
        self._check_goal(episode)
        first = {int(goal): step for goal, step in episode.custom_data.get(FIRST_STEPS, {}).items()}
        reached = [goal for goal, step in first.items() if step > 0]
        self._reached.update(reached)
        for goal in sorted(reached, key=lambda goal: (self._reached[goal], goal))[: self.copies]:
            yield self._copy(episode, goal, first[goal])

    def _whole(self, id_: str) -> SingleAgentEpisode | None:
        """Return a stored episode; None if it, or its beginning, has left the buffer."""
        buffer: Any = self
        places = buffer.episode_id_to_index
        if id_ not in places:
            return None
        # RLlib keeps the numbers of episodes when others leave the buffer.
        episode: SingleAgentEpisode = buffer.episodes[places[id_] - places[buffer.episodes[0].id_]]
        return None if episode.t_started > 0 else episode

    def _check_goal(self, episode: SingleAgentEpisode) -> None:
        """Check that an episode shows its goal as a copy would show it."""
        expected = self.embeddings.get(episode.custom_data[GOAL_INDEX])
        if expected is None:
            return
        got = episode.get_observations(0)["goal"]
        if np.shape(got) != expected.shape or not np.allclose(got, expected, atol=1e-3):
            raise RewardError(
                "hindsight: got observations whose entry 'goal' is not the embedding of their "
                "goal, expected it unchanged, since copies show it like that. Remove the "
                "env-to-module connector that changes it, or hindsight."
            )

    def _copy(self, episode: SingleAgentEpisode, goal: int, steps: int) -> SingleAgentEpisode:
        if goal not in self.embeddings:
            raise RewardError(
                f"hindsight: the replay buffer does not know the embedding of goal {goal}. Set "
                "vlm_reward.hindsight, which passes it on, and let RLlib make the buffer."
            )
        observations = [episode.get_observations(step) for step in range(steps + 1)]
        copy = SingleAgentEpisode(
            id_=f"{episode.id_}/{goal}",
            observations=[{**seen, "goal": self.embeddings[goal]} for seen in observations],
            observation_space=episode.observation_space,
            actions=[episode.get_actions(step) for step in range(steps)],
            action_space=episode.action_space,
            rewards=[0.0] * (steps - 1) + [1.0],
            terminated=True,
            extra_model_outputs={
                key: [episode.get_extra_model_outputs(key, step) for step in range(steps)]
                for key in episode.extra_model_outputs
            },
            len_lookback_buffer=0,
        )
        copy.custom_data[GOAL_INDEX] = goal
        return copy.to_numpy() if episode.is_numpy else copy


class HindsightEpisodeReplayBuffer(Hindsight, EpisodeReplayBuffer):  # type: ignore[misc]
    """RLlib's EpisodeReplayBuffer with copies of episodes, see :class:`Hindsight`."""


class HindsightPrioritizedEpisodeReplayBuffer(
    Hindsight,
    PrioritizedEpisodeReplayBuffer,  # type: ignore[misc]
):
    """RLlib's PrioritizedEpisodeReplayBuffer with copies of episodes, see :class:`Hindsight`."""


_KINDS = {
    kind.__bases__[1].__name__: kind
    for kind in (HindsightEpisodeReplayBuffer, HindsightPrioritizedEpisodeReplayBuffer)
}


def with_hindsight(buffer: Mapping[str, Any], copies: int) -> dict[str, Any]:
    """Return RLlib's ``replay_buffer_config`` with a buffer that makes copies.

    A ``type`` with another name and a dot is kept: it is the import path of a class of your own
    that derives from one of these.

    Args:
        buffer: the ``replay_buffer_config``.
        copies: how many copies of an episode are made at most.

    Raises:
        RewardError: the type is another buffer of RLlib.

    Example:
        >>> with_hindsight({"type": "EpisodeReplayBuffer", "capacity": 50_000}, copies=4)
        {'type': 'rllib_vlm_reward.replay.HindsightEpisodeReplayBuffer', 'capacity': 50000, \
'copies': 4}
    """
    name = buffer.get("type")
    if name in _KINDS:
        path = f"rllib_vlm_reward.replay.{_KINDS[name].__name__}"
    elif isinstance(name, str) and "." in name:
        path = name
    else:
        raise RewardError(
            f"hindsight: got replay_buffer_config with the type {name!r}, expected "
            f"{' or '.join(_KINDS)}. Set one of these, or remove hindsight."
        )
    return {**buffer, "type": path, "copies": copies}
