"""Selects the steps to score, and reduces a window of scores to one score."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps

__all__ = ["REDUCTIONS", "FrameSelection", "ScoreWindows", "select_steps"]

Steps = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

REDUCTIONS: dict[str, Callable[[Collection[float]], float]] = {"mean": fmean, "max": max}
"""The functions that reduce a window of scores to one, by their name in ``frames.reduce``, of which
:class:`~rllib_vlm_reward.config.FrameConfig` declares the names."""


def select_steps(scored_steps: str | int, t: Steps, ends: Mask) -> Mask:
    """Return which of N steps are selected for scoring, bool ``[N]``.

    With ``changed``, all steps are selected here; see :meth:`FrameSelection.unchanged`.

    Args:
        scored_steps: see :class:`~rllib_vlm_reward.config.FrameConfig`.
        t: int64 ``[N]``: the number of each step in its episode, from 1.
        ends: bool ``[N]``: whether the step ends its episode.

    Example:
        >>> t = np.arange(1, 8)
        >>> t[select_steps(3, t, t == 7)].tolist()
        [3, 6, 7]
        >>> t[select_steps("last", t, t == 7)].tolist()
        [7]
    """
    if scored_steps == "last":
        return ends
    every = scored_steps if isinstance(scored_steps, int) else 1
    chosen: Mask = ends | (t % every == 0)
    return chosen


class FrameSelection:
    """Selects the steps to score.

    Args:
        scored_steps: ``all``, ``last``, ``changed`` or an integer: see
            :class:`~rllib_vlm_reward.config.FrameConfig`.
    """

    def __init__(self, scored_steps: str | int) -> None:
        self._scored_steps = scored_steps
        self._last_frames: dict[str, Frames] = {}

    def select(self, steps: ScoredSteps) -> list[int]:
        """Return the rows of the steps whose frames are needed."""
        chosen = select_steps(self._scored_steps, steps.t, steps.dones)
        rows: list[int] = np.flatnonzero(chosen).tolist()
        return rows

    def unchanged(
        self, episodes: Sequence[SingleAgentEpisode], frames: Sequence[Frames]
    ) -> list[bool]:
        """Return for each of B episodes whether its frame equals its previous frame.

        The answers are all False unless ``scored_steps`` is ``changed``.

        Args:
            episodes: B episodes.
            frames: their frames, each uint8 ``[H, W, 3]``.
        """
        if self._scored_steps != "changed":
            return [False] * len(episodes)
        same = []
        for episode, frame in zip(episodes, frames, strict=True):
            before = self._last_frames.get(episode.id_)
            same.append(before is not None and np.array_equal(before, frame))
            if not same[-1]:
                self._last_frames[episode.id_] = frame.copy()
            if episode.is_done:
                del self._last_frames[episode.id_]
        return same

    def keep_only(self, ids: Collection[str]) -> None:
        """Drop the frames of all episodes but these; the others were abandoned."""
        self._last_frames = {id_: frame for id_, frame in self._last_frames.items() if id_ in ids}


class ScoreWindows:
    """Computes the score of a step from the last W scored frames of its episode.

    Args:
        size: W, at least 1.
        reduce: how to reduce a window to one score, a key of :data:`REDUCTIONS`.
        repeats: whether a step may repeat the score of the previous frame.

    Example:
        >>> windows, episode = ScoreWindows(2, "max"), SingleAgentEpisode(id_="a")
        >>> steps = ScoredSteps.begin([episode] * 3, [0] * 3, [0] * 3, ["a ball"])
        >>> steps.scored = np.array([True, False, True])
        >>> steps.frame_scores = np.array([0.75, 0.0, 0.5], np.float32)
        >>> windows(steps)
        array([0.75, 0.  , 0.75])
    """

    def __init__(self, size: int, reduce: str, *, repeats: bool = False) -> None:
        self._size, self._reduce = size, REDUCTIONS[reduce]
        self._is_needed = size > 1 or repeats
        # By episode id, since a window extends over the chunks of an episode.
        self._windows: dict[str, deque[float]] = {}

    def __call__(self, steps: ScoredSteps) -> npt.NDArray[np.float64]:
        """Return the scores of N steps, float64 ``[N]``; 0 for a step without a score."""
        scores = steps.frame_scores.astype(np.float64)
        if not self._is_needed:
            return scores
        frame_scores, repeated = scores.tolist(), steps.repeated.tolist()
        for row in np.flatnonzero(steps.has_score).tolist():
            window = self._windows.setdefault(steps.episodes[row].id_, deque(maxlen=self._size))
            window.append(window[-1] if repeated[row] else frame_scores[row])
            scores[row] = self._reduce(window)
        return scores

    def keep_only(self, ids: Collection[str]) -> None:
        """Drop the windows of all episodes but these; the others ended or were abandoned."""
        self._windows = {id_: window for id_, window in self._windows.items() if id_ in ids}
