"""When is a reward no longer to be trusted? Read from the last iterations' score statistics."""

import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from rllib_vlm_reward.monitoring.score_statistics import (
    BINS,
    FAILURE,
    SUCCESS,
    UNKNOWN,
    ScoreStatistics,
)

__all__ = ["KINDS", "Alarm", "Alarms", "auroc", "wilson"]

KINDS = ("constant", "saturated", "blind", "contrary", "gap", "drift")

WINDOW = 3  # iterations
MIN_STEPS, MIN_EPISODES = 256, 20
# Trained CLIPs on BabyAI vary by 6 to 10 times their mean within an episode; CLIPs that were never
# trained by 0.02 to 0.08 (docs/alarms.md).
LEAST_SPREAD, LEAST_COSINE_SPREAD = 0.05, 0.001
MOST_FIRES = 0.95
# What the upper end of the 95 % interval must reach.
LEAST_AUROC, LEAST_MARGIN = 0.7, 0.3
MOST_GAP = 0.1
Z = 1.96


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm:
    """A cause not to trust a reward.

    Attributes:
        kind: one of :data:`KINDS`.
        text: what was measured and expected, and what to do.
    """

    kind: str
    text: str


def auroc(statistics: ScoreStatistics) -> tuple[float, float]:
    """Return the chance that a success is scored above a failure, and its standard error.

    Scores of one bin count as equal. The error is Hanley's and McNeil's (Radiology 143, 1982), for
    as many successes and failures as there are episodes with one. Both are NaN where there is no
    success, or no failure.

    Example:
        >>> truths = [FAILURE, SUCCESS, SUCCESS]
        >>> auroc(ScoreStatistics.of(["a", "b", "c"], [0.1, 0.2, 0.9], [False] * 3, truths))
        (1.0, 0.0)
    """
    failures, successes = statistics.counts[FAILURE], statistics.counts[SUCCESS]
    if not failures.sum() or not successes.sum():
        return math.nan, math.nan
    below = np.cumsum(failures) - failures / 2
    area = float((successes * below).sum() / (successes.sum() * failures.sum()))
    n, m = statistics.episodes_with(SUCCESS), statistics.episodes_with(FAILURE)
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n - 1) * (first - area**2) + (m - 1) * (second - area**2)
    return area, math.sqrt(max(variance, 0.0) / (n * m))


def wilson(share: float, number: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of ``number`` independent cases.

    Example:
        >>> low, high = wilson(0.0, 20)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.161)
    """
    scale = 1 + Z**2 / number
    middle = (share + Z**2 / (2 * number)) / scale
    half = Z * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


class Alarms:
    """Decides after each iteration which alarms of one reward hold.

    Args:
        low: the head's lowest score.
        high: the head's highest score.
        threshold: β, if there is one.

    Attributes:
        in_force: the alarms that hold now, by kind.
        recent: the statistics of the last iterations together.

    Example:
        >>> same = ScoreStatistics.of(["e"] * 300, [0.05] * 300, [False] * 300, [UNKNOWN] * 300)
        >>> alarms = Alarms(low=0.0, threshold=0.5)
        >>> [alarm.kind for alarm in alarms.update(same, iteration=1)]
        ['constant']
    """

    def __init__(self, *, low: float, threshold: float | None, high: float = 1.0) -> None:
        self.in_force: dict[str, Alarm] = {}
        self.recent = ScoreStatistics()
        self._announced: set[str] = set()
        self._low, self._high, self._threshold = low, high, threshold
        self._window: deque[ScoreStatistics] = deque(maxlen=WINDOW)
        self._start: ScoreStatistics | None = None
        self._first: int | None = 1

    def update(
        self, statistics: ScoreStatistics, iteration: int, drift: Alarm | None = None
    ) -> list[Alarm]:
        """Take note of an iteration; return the alarms that begin with it.

        Args:
            statistics: those of the iteration.
            iteration: the number of the iteration in the run, from 1.
            drift: an alarm about the model itself, see :meth:`.RewardMonitor.update`.
        """
        if statistics.steps or statistics.episodes[0]:
            self._window.append(statistics)
        if self._first is None:
            self._first = iteration
        self.recent = recent = ScoreStatistics.total(self._window)
        early = iteration < self._first + WINDOW
        found = [drift, self._constant(recent, early), self._saturated(recent, early)]
        found += [self._blind(recent), self._gap(recent)]
        now = {alarm.kind: alarm for alarm in found if alarm is not None}
        new = [alarm for kind, alarm in now.items() if kind not in self._announced]
        self.in_force, self._announced = now, {*now}
        return new

    def get_state(self) -> dict[str, Any]:
        """Return all that later decisions rest on."""
        return {
            "window": [statistics.pack() for statistics in self._window],
            "start": None if self._start is None else self._start.pack(),
            "in_force": {kind: alarm.text for kind, alarm in self.in_force.items()},
            "first": self._first,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; an empty one begins anew.

        :meth:`update` returns alarms in force once more if they still hold: who restores a run
        looks at another log.
        """
        start, in_force = state.get("start"), state.get("in_force", {})
        self._window = deque(map(ScoreStatistics.unpack, state.get("window", ())), WINDOW)
        self.recent = ScoreStatistics.total(self._window)
        self._start = None if start is None else ScoreStatistics.unpack(start)
        self.in_force = {kind: Alarm(kind, text) for kind, text in in_force.items()}
        self._announced = set()
        self._first = state.get("first")

    def _constant(self, recent: ScoreStatistics, early: bool) -> Alarm | None:
        """Look for it at the start alone: an agent that has learnt may see one frame for long."""
        if not early and "constant" not in self.in_force:
            return None
        spread = recent.spread
        if spread is None or recent.steps < MIN_STEPS or recent.fired.any():
            return None
        least = LEAST_COSINE_SPREAD * (self._high - self._low) / 2  # a cosine's range is 2
        if self._low == 0.0:
            least = LEAST_SPREAD * min(recent.mean, self._high - recent.mean)
        if spread >= least:
            return None
        return Alarm(
            "constant",
            f"scores hardly depend on the frame: within an episode they differ by {spread:.2g} "
            f"(standard deviation) about {recent.mean:.2g}, expected {least:.2g} or more. Check "
            "that the encoder's weights are trained ones, frames.source and the temperature.",
        )

    def _saturated(self, recent: ScoreStatistics, early: bool) -> Alarm | None:
        """Look for fires at failures; without ground truth at all steps, from the start on.

        An agent that has learnt its goal may fire at each step, so without ground truth a later
        share says nothing.
        """
        kind, what = FAILURE, "failures"
        if not recent.counts[:UNKNOWN].any():
            kind, what = UNKNOWN, "steps"
            if not early and "saturated" not in self.in_force:
                return None
        number = recent.counts[kind].sum().item()
        if number < MIN_STEPS:
            return None
        if self._threshold is None:
            high = recent.counts[kind, round(MOST_FIRES * BINS) :].sum().item()
            done = f"score in the head's highest {1 - MOST_FIRES:.0%}"
        else:
            high, done = recent.fired[kind].item(), f"score over the threshold {self._threshold}"
        if high <= MOST_FIRES * number:
            return None
        return Alarm(
            "saturated",
            f"{high / number:.1%} of {number} {what} {done}, expected at most {MOST_FIRES:.0%}. "
            "Raise the threshold or the temperature, or give the goals more negatives.",
        )

    def _blind(self, recent: ScoreStatistics) -> Alarm | None:
        if min(recent.episodes_with(SUCCESS), recent.episodes_with(FAILURE)) < MIN_EPISODES:
            return None
        area, error = auroc(recent)
        high = area + Z * error
        if high >= LEAST_AUROC:
            return None
        number = recent.episodes_with(SUCCESS)
        got = f"AUROC {area:.2f}, at most {min(high, 1.0):.2f}, over {number} episodes with success"
        if self._threshold is not None:
            hits, wrong = (
                recent.fired[kind].item() / recent.counts[kind].sum().item()
                for kind in (SUCCESS, FAILURE)
            )
            if wilson(hits, number)[1] - wrong >= LEAST_MARGIN:
                return None
            got += f"; the reward fires at {hits:.1%} of the successes, {wrong:.1%} of the failures"
        kind, does = ("contrary", "below") if high < 0.5 else ("blind", "no better than")
        if {"blind", "contrary"} & self.in_force.keys():  # said once
            kind = "contrary" if "contrary" in self.in_force else "blind"
        return Alarm(
            kind,
            f"scores rank successes {does} failures ({got}), expected {LEAST_AUROC} or more. Check "
            "that each goal's prompt describes that goal, and the encoder and its weights.",
        )

    def _gap(self, recent: ScoreStatistics) -> Alarm | None:
        """Look for more episodes than at the start that were paid for and never succeeded."""
        known = recent.episodes[1].item()
        if self._threshold is None or known < MIN_EPISODES:
            return None
        if self._start is None:
            self._start = recent
            return None
        first = self._start.episodes[1].item()
        before, now = self._start.episodes[3].item() / first, recent.episodes[3].item() / known
        most = wilson(before, first)[1] + MOST_GAP
        if wilson(now, known)[0] <= most:
            return None
        return Alarm(
            "gap",
            f"{now:.1%} of the last {known} episodes were paid for without ever succeeding, "
            f"{before:.1%} at the start, expected at most {most:.1%}: the agent exploits the "
            "reward. Look at the highest-scored frames; raise the threshold, or add negatives.",
        )
