"""Which steps are worth a frame, and what their scores make together."""

from collections.abc import Collection, Sequence
from statistics import fmean

import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.frames import Frames

__all__ = ["FrameEconomy", "is_scored", "reduce_window"]


def is_scored(scored_steps: str | int, t: int, *, ends: bool) -> bool:
    """Return whether the frame after step t, from 1, is looked at.

    Args:
        scored_steps: see :class:`~rllib_vlm_reward.config.VLMRewardConfig`.
        t: the step in its episode.
        ends: whether it ends the episode.

    Example:
        >>> [t for t in range(1, 8) if is_scored(3, t, ends=t == 7)]
        [3, 6, 7]
    """
    if scored_steps == "last":
        return ends
    return ends or not isinstance(scored_steps, int) or t % scored_steps == 0


def reduce_window(scores: Collection[float], how: str) -> float:
    """Return the ``mean`` or the ``max`` of a window of scores.

    Example:
        >>> reduce_window([0.25, 0.75], "mean")
        0.5
    """
    return fmean(scores) if how == "mean" else max(scores)


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
        return is_scored(self._scored_steps, episode.t, ends=bool(episode.is_done))

    def unchanged(
        self, episodes: Sequence[SingleAgentEpisode], frames: Sequence[Frames]
    ) -> list[bool]:
        """Return which of B episodes show the frame that they showed the last time.

        All False unless ``scored_steps`` is ``changed``.

        Args:
            episodes: B episodes.
            frames: their frames, each uint8 ``[H, W, 3]``.
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
