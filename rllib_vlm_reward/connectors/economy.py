"""Which steps are worth a frame."""

from collections.abc import Sequence

import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.frames import Frames

__all__ = ["FrameEconomy"]


class FrameEconomy:
    """Chooses the steps that are scored.

    Args:
        scored_steps: ``all``, ``last``, ``changed`` or an integer: see
            :class:`~rllib_vlm_reward.config.VLMRewardConfig`.
    """

    def __init__(self, scored_steps: str | int) -> None:
        self._scored_steps = scored_steps
        self._shown: dict[str, Frames] = {}

    def wants(self, episode: SingleAgentEpisode) -> bool:
        """Return whether the frame of an episode's last step is to be looked at."""
        if self._scored_steps == "last":
            return bool(episode.is_done)
        if isinstance(self._scored_steps, int):
            return bool(episode.is_done or episode.t % self._scored_steps == 0)
        return True

    def unchanged(self, episodes: Sequence[SingleAgentEpisode], frames: Frames) -> list[bool]:
        """Return which of B episodes show the frame that they showed the last time.

        All False unless ``scored_steps`` is ``changed``.

        Args:
            episodes: B episodes.
            frames: their frames, uint8 ``[B, H, W, 3]``.
        """
        if self._scored_steps != "changed":
            return [False] * len(episodes)
        same = []
        for episode, frame in zip(episodes, frames, strict=True):
            before = self._shown.get(episode.id_)
            same.append(before is not None and np.array_equal(before, frame))
            if not same[-1]:
                self._shown[episode.id_] = frame.copy()
            if episode.is_done:
                del self._shown[episode.id_]
        return same

    def forget(self, but: set[str]) -> None:
        """Drop the frames of episodes that were abandoned: all but these."""
        self._shown = {id_: frame for id_, frame in self._shown.items() if id_ in but}
