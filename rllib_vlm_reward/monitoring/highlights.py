"""The highest-scored frames of an iteration, small enough to be sent among the metrics."""

from collections.abc import Iterable, Sequence
from typing import Any

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.monitoring.scored_steps import ScoredFrame, ScoredSteps

__all__ = ["MOST", "MOST_RUNNERS", "Highlights", "best"]

MOST, MOST_OF_A_FRAGMENT, MOST_RUNNERS = 8, 4, 8
LONGEST_SIDE = 128
# The memory for the frames of a fragment, which must wait for their scores; more are not kept.
_BYTES = 32 * 1024**2


def best(frames: Iterable[ScoredFrame], most: int) -> list[ScoredFrame]:
    """Return the highest-scored frames, highest first; half of them failures, if there are enough.

    Without this rule, a reward that is mostly right would hide the failures that it rewards. Each
    picture occurs only once, and each episode at most once as a failure and once as another frame.

    Args:
        frames: the frames to choose from.
        most: the most frames to return.

    Example:
        >>> import numpy as np
        >>> pictures = np.arange(3 * 12, dtype=np.uint8).reshape(3, 2, 2, 3)
        >>> a = ScoredFrame("a", 1, pictures[0], "a ball", 0.3, None)
        >>> b = ScoredFrame("a", 2, pictures[1], "a ball", 0.9, None)
        >>> c = ScoredFrame("c", 1, pictures[2], "a ball", 0.5, None)
        >>> again = ScoredFrame("d", 1, pictures[2], "a ball", 0.5, None)
        >>> [frame.score for frame in best([a, b, c, again], most=8)]
        [0.9, 0.5]
        >>> failure = ScoredFrame("f", 1, pictures[0], "a ball", 0.1, False)
        >>> [frame.score for frame in best([b, c, failure], most=2)]
        [0.9, 0.1]
    """
    failures: list[ScoredFrame] = []
    others: list[ScoredFrame] = []
    seen: set[Any] = set()
    for frame in sorted(frames, key=lambda frame: -frame.score):
        failed = frame.success is False
        keys = {(frame.episode, failed), (frame.goal, frame.frame.tobytes())}
        if not seen & keys:
            (failures if failed else others).append(frame)
            seen |= keys
    half = most - most // 2
    places = max(most - len(failures), half)
    chosen = [*others[:places], *failures[: most - min(len(others), places)]]
    return sorted(chosen, key=lambda frame: -frame.score)


class Highlights:
    """Keeps the highest-scored frames of a fragment, scaled down to at most 128 pixels a side."""

    def __init__(self) -> None:
        self._free, self._best = _BYTES, list[ScoredFrame]()

    def keep(self, frames: Sequence[Frames]) -> list[Frames] | None:
        """Return small copies of B frames, uint8 ``[h, w, 3]``; None once the memory is full."""
        if self._free <= 0:
            return None
        small = [_shrink(frame) for frame in frames]
        self._free -= sum(frame.nbytes for frame in small)
        return small

    def observe(self, steps: ScoredSteps) -> None:
        """Choose the highest-scored of the kept frames."""
        # With a recorder, the frames are in full size.
        kept = (each._replace(frame=_shrink(each.frame)) for each in steps.kept_frames())
        self._best = best([*self._best, *kept], MOST_OF_A_FRAGMENT)

    def take(self) -> list[ScoredFrame]:
        """Return the highest-scored frames of the fragment, and begin a new fragment."""
        taken = self._best
        self._free, self._best = _BYTES, []
        return taken


def _shrink(frame: Frames) -> Frames:
    step = -(-max(frame.shape[:2]) // LONGEST_SIDE)
    small: Frames = frame[::step, ::step].copy()
    return small
