"""Watches whether the frames still show the env: their colours, and whether they change."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.alarms import WINDOW, Alarm

__all__ = ["FrameAlarms", "FrameCounter", "SubEnvFrames"]

# A fade between two scenes is shorter, and so is what an agent waits for at a wall.
MIN_FRAMES = 10
MOST_BLANK = 0.5
# A frame's colours are first compared at about this many pixels a side.
_SAMPLED = 8
_hash = xxhash.xxh3_64_intdigest

_Place = tuple[int, int, str]
"""The index of an env runner, that of its sub-env, and the frame source."""


class SubEnvFrames(NamedTuple):
    """The frames of one sub-env in one fragment.

    Attributes:
        sub_env: index of the sub-env.
        frames: number of frames.
        blank: number of frames of one colour.
        still: number of equal frames up to the last one, also from earlier fragments, if they
            extend over a whole episode and into the next; else 0.
        source: the frame source; empty if the reward has only one.
    """

    sub_env: int
    frames: int
    blank: int
    still: int
    source: str = ""


@dataclasses.dataclass(slots=True)
class _Run:
    """Equal frames of a sub-env, up to the last one.

    Attributes:
        digest: the hash of the frame's pixels; the env may reuse their memory.
        blank: whether the frame has one colour.
        episode: id of the last frame's episode.
        whole: whether that episode had no other frame so far.
        episodes: number of episodes of which these were all frames.
        length: number of frames.
    """

    digest: int
    blank: bool
    episode: str
    whole: bool
    episodes: int = 0
    length: int = 1


class FrameCounter:
    """Counts the blank and the unchanged frames of the sub-envs of an env runner.

    Example:
        >>> import numpy as np
        >>> counter, black = FrameCounter(), np.zeros((8, 8, 3), np.uint8)
        >>> for id_ in ("a", "a", "b"):
        ...     counter.see([0], [SingleAgentEpisode(id_=id_)], [black])
        >>> counter.take()
        [SubEnvFrames(sub_env=0, frames=3, blank=3, still=0, source='')]
    """

    def __init__(self) -> None:
        # Agents of one sub-env may have frames of their own, and experts may see others.
        self._runs: dict[tuple[int, str, Any], _Run] = {}
        self._counts: dict[tuple[int, str], list[int]] = {}

    def see(
        self,
        rows: Sequence[int],
        episodes: Sequence[SingleAgentEpisode],
        frames: Iterable[Frames],
        source: str = "",
    ) -> None:
        """Count the frames of one vector step.

        Args:
            rows: the index of each frame's sub-env.
            episodes: the episode of each frame.
            frames: uint8 ``[H, W, 3]`` each.
            source: the frame source, if experts see several.
        """
        for row, episode, frame in zip(rows, episodes, frames, strict=True):
            run = self._continue((row, source, episode.agent_id), episode.id_, frame)
            counts = self._counts.setdefault((row, source), [0, 0])
            counts[0] += 1
            counts[1] += run.blank

    def take(self) -> list[SubEnvFrames]:
        """Return the counts of the fragment, and begin a new fragment."""
        still: dict[tuple[int, str], int] = {}
        for (row, source, _), run in self._runs.items():
            # An episode with only one frame each (scored_steps: last) may well end alike.
            if run.episodes and run.length > 2 * run.episodes and not run.blank:
                still[row, source] = max(still.get((row, source), 0), run.length)
        taken = [
            SubEnvFrames(row, frames, blank, still.get((row, source), 0), source)
            for (row, source), (frames, blank) in sorted(self._counts.items())
        ]
        self._counts = {}
        return taken

    def _continue(self, key: tuple[int, str, Any], episode: str, frame: Frames) -> _Run:
        run, digest = self._runs.get(key), _hash(np.ascontiguousarray(frame).data)
        if run is None or digest != run.digest:
            begins = run is None or run.episode != episode
            run = self._runs[key] = _Run(digest, _is_blank(frame), episode, begins)
            return run
        if run.episode != episode:
            run.episodes += run.whole
            run.episode, run.whole = episode, True
        run.length += 1
        return run


class FrameAlarms:
    """Decides after each iteration whether the frames of a reward still show the env.

    Example:
        >>> alarms = FrameAlarms()
        >>> [alarm.kind for alarm in alarms.update([(1, [(0, 60, 60, 0, ""), (1, 60, 0, 0, "")])])]
        ['blank']
    """

    def __init__(self) -> None:
        self._window: deque[dict[_Place, tuple[int, int, int]]] = deque(maxlen=WINDOW)

    def update(self, fragments: Iterable[tuple[int, Iterable[Sequence[Any]]]]) -> list[Alarm]:
        """Add the fragments of an iteration; return the alarms that are on.

        Args:
            fragments: for each fragment the index of its env runner, and its
                :class:`SubEnvFrames`.
        """
        now: dict[_Place, tuple[int, int, int]] = {}
        for runner, sub_envs in fragments:
            for sub_env, frames, blank, still, source in sub_envs:
                before = now.get((runner, sub_env, source), (0, 0, 0))
                now[runner, sub_env, source] = before[0] + frames, before[1] + blank, still
        if now:
            self._window.append(now)
        return [*self._blank(), *self._frozen()]

    def get_state(self) -> list[list[tuple[Any, ...]]]:
        """Return the state for a checkpoint."""
        return [
            [(runner, sub_env, *counts, source) for (runner, sub_env, source), counts in part]
            for part in (each.items() for each in self._window)
        ]

    def set_state(self, state: Iterable[Iterable[Sequence[Any]]]) -> None:
        """Set the state; an empty one is that of a new run."""
        self._window.clear()
        for part in state:  # in checkpoints from before there were experts, without a source
            self._window.append({(a, b, *(f or [""])): (c, d, e) for a, b, c, d, e, *f in part})

    def _blank(self) -> Iterator[Alarm]:
        totals: dict[_Place, list[int]] = {}
        for part in self._window:
            for key, (frames, blank, _) in part.items():
                total = totals.setdefault(key, [0, 0])
                total[0] += frames
                total[1] += blank
        found = {
            key: (frames, blank)
            for key, (frames, blank) in totals.items()
            if frames >= MIN_FRAMES and blank > MOST_BLANK * frames
        }
        if found:
            frames, blank = (sum(each) for each in zip(*found.values(), strict=True))
            yield Alarm(
                "blank",
                f"{blank} of the last {frames} frames have one colour in all of the picture "
                f"({_names(found)}), expected at most {MOST_BLANK:.0%}. Check the renderer; save "
                "such a frame and look at it. If it is meant, set frames.still: true.",
            )

    def _frozen(self) -> Iterator[Alarm]:
        newest = self._window[-1] if self._window else {}
        found = {key: still for key, (_, _, still) in newest.items() if still >= MIN_FRAMES}
        if found:
            yield Alarm(
                "frozen",
                f"the frames have not changed for {max(found.values())} steps, through a whole "
                f"episode and into the next ({_names(found)}), expected that the frames show what "
                "the agent does. Check that the env renders anew after each step, and whether "
                "the agent stands still. If it is meant, set frames.still: true.",
            )


def _names(found: Iterable[_Place]) -> str:
    """Name the first few sub-envs, and the frame source of each if there are several.

    Example:
        >>> _names([(1, 0, ""), (1, 3, "info:crop")])
        'sub-env 0 of env runner 1, info:crop of sub-env 3 of env runner 1'
    """
    keys = sorted(found)
    names = [
        f"{source and f'{source} of '}sub-env {sub_env} of env runner {runner}"
        for runner, sub_env, source in keys[:4]
    ]
    more = [f"and {len(keys) - 4} more"] if len(keys) > 4 else []
    return ", ".join(names + more)


def _is_blank(frame: Frames) -> bool:
    """Return whether a frame has one colour; most frames are settled by a few pixels."""
    height, width, _ = frame.shape
    few = frame[:: max(height // _SAMPLED, 1), :: max(width // _SAMPLED, 1)].tobytes()
    return few == few[:3] * (len(few) // 3) and bool((frame == frame[0, 0]).all())
