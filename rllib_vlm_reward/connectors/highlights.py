"""The highest-scored frames of an iteration, small enough to travel among the metrics."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rllib_vlm_reward.frames import Frames

__all__ = ["MOST", "MOST_RUNNERS", "Highlight", "Highlights", "best"]

MOST, MOST_OF_A_FRAGMENT, MOST_RUNNERS = 8, 4, 8
LONGEST_SIDE = 128
# A fragment's frames are kept until their scores come; those beyond are left out.
_BYTES = 32 * 1024**2


class Highlight(NamedTuple):
    """A scored frame, at most 128 pixels a side: uint8 ``[h, w, 3]``.

    ``t`` counts its episode's actions, from 1; ``success`` is None where the env does not tell.
    """

    episode: str
    t: int
    frame: Frames
    goal: str
    score: float
    success: bool | None


def best(highlights: Iterable[Highlight], most: int) -> list[Highlight]:
    """Return the highest-scored, highest first, no episode and no picture twice.

    Example:
        >>> import numpy as np
        >>> frames = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3)
        >>> a = Highlight("a", 1, frames[0], "a ball", 0.3, None)
        >>> b = a._replace(frame=frames[1], score=0.9)
        >>> c = a._replace(episode="c", frame=frames[2], score=0.5)
        >>> [it.score for it in best([a, b, c, c._replace(episode="d")], most=8)]
        [0.9, 0.5]
    """
    chosen: list[Highlight] = []
    seen: set[Any] = set()
    for highlight in sorted(highlights, key=lambda it: -it.score):
        marks = {highlight.episode, (highlight.goal, highlight.frame.tobytes())}
        if len(chosen) < most and not seen & marks:
            chosen.append(highlight)
            seen |= marks
    return chosen


class Highlights:
    """Keeps a fragment's small frames until their scores are known."""

    def __init__(self) -> None:
        self._free, self._seen = _BYTES, list[Highlight]()

    def keep(self, frames: Sequence[Frames]) -> list[Frames] | None:
        """Return small copies of frames that are being scored; None once there is no room."""
        if self._free <= 0:
            return None
        small = [_shrink(frame) for frame in frames]
        self._free -= sum(frame.nbytes for frame in small)
        return small

    def see(self, highlights: Iterable[Highlight]) -> None:
        """Take note of frames whose scores came."""
        self._seen = best([*self._seen, *highlights], MOST_OF_A_FRAGMENT)

    def take(self) -> list[Highlight]:
        """Return the fragment's highest-scored frames, and start anew."""
        taken = self._seen
        self._free, self._seen = _BYTES, []
        return taken


def _shrink(frame: Frames) -> Frames:
    step = -(-max(frame.shape[:2]) // LONGEST_SIDE)
    small: Frames = frame[::step, ::step].copy()
    return small
