"""Decides from the score statistics of the last iterations whether a reward can be trusted."""

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
# Within an episode on BabyAI, the scores of trained CLIPs vary by 6 to 10 times their mean, those
# of untrained CLIPs by 0.02 to 0.08 times (docs/alarms.md).
LEAST_SPREAD, LEAST_COSINE_SPREAD = 0.05, 0.001
MOST_FIRES = 0.95
# The upper end of the 95 % interval must reach these.
LEAST_AUROC, LEAST_MARGIN = 0.7, 0.3
MOST_GAP = 0.1
Z = 1.96


@dataclasses.dataclass(frozen=True, slots=True)
class Alarm:
    """A reason not to trust a reward.

    Attributes:
        kind: one of :data:`KINDS`.
        text: what was measured, what is expected, and what to do.
    """

    kind: str
    text: str


def auroc(statistics: ScoreStatistics) -> tuple[float, float]:
    """Return the chance that a success scores higher than a failure, and its standard error.

    Scores in the same bin count as equal. The standard error is that of Hanley and McNeil
    (Radiology 143, 1982); its sample sizes are the number of episodes with a success, and the
    number with a failure. Both results are NaN if there is no success, or no failure.

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
    """Return Wilson's 95 % interval for a share of ``number`` independent cases.

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
    """Decides after each iteration which alarms of one reward are on.

    Args:
        low: the head's lowest score.
        high: the head's highest score.
        threshold: β; None without a threshold.

    Attributes:
        in_force: the alarms that are on, by kind.
        recent: the summed statistics of the last :data:`WINDOW` iterations.

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
        """Add the statistics of an iteration; return the alarms that begin now.

        Args:
            statistics: the statistics of the iteration.
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
        """Return the state for a checkpoint."""
        return {
            "window": [statistics.pack() for statistics in self._window],
            "start": None if self._start is None else self._start.pack(),
            "in_force": {kind: alarm.text for kind, alarm in self.in_force.items()},
            "first": self._first,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Set the state; an empty state is that of a new run.

        Alarms that are still on at the next :meth:`update` are returned again, because a restored
        run writes a new log.
        """
        start, in_force = state.get("start"), state.get("in_force", {})
        self._window = deque(map(ScoreStatistics.unpack, state.get("window", ())), WINDOW)
        self.recent = ScoreStatistics.total(self._window)
        self._start = None if start is None else ScoreStatistics.unpack(start)
        self.in_force = {kind: Alarm(kind, text) for kind, text in in_force.items()}
        self._announced = set()
        self._first = state.get("first")

    def _constant(self, recent: ScoreStatistics, early: bool) -> Alarm | None:
        """Check for constant scores, at the start only: a trained agent may stay at one frame."""
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
            "scores hardly depend on the frame: within an episode their standard deviation is "
            f"{spread:.2g} (mean {recent.mean:.2g}), expected {least:.2g} or more. Check that the "
            "encoder has trained weights; check frames.source and the temperature.",
        )

    def _saturated(self, recent: ScoreStatistics, early: bool) -> Alarm | None:
        """Check how many failures get a reward; without ground truth, how many of all steps.

        Without ground truth this is checked at the start only: an agent that has learnt its goal
        may get a reward at each step.
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
            high, done = recent.fired[kind].item(), f"score above the threshold {self._threshold}"
        if high <= MOST_FIRES * number:
            return None
        return Alarm(
            "saturated",
            f"{high / number:.1%} of {number} {what} {done}, expected at most {MOST_FIRES:.0%}. "
            "Raise the threshold or the temperature, or give the goals more negatives.",
        )

    def _blind(self, recent: ScoreStatistics) -> Alarm | None:
        """Check that successes score higher than failures."""
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
        kind, rank = ("contrary", "below") if high < 0.5 else ("blind", "no better than")
        if {"blind", "contrary"} & self.in_force.keys():  # the first of the two kinds stays
            kind = "contrary" if "contrary" in self.in_force else "blind"
        return Alarm(
            kind,
            f"scores rank successes {rank} failures ({got}), expected {LEAST_AUROC} or more. Check "
            "that each goal's prompt describes that goal; check the encoder and its weights.",
        )

    def _gap(self, recent: ScoreStatistics) -> Alarm | None:
        """Check whether more episodes than at the start got a reward without a success."""
        number = recent.episodes[1].item()
        if self._threshold is None or number < MIN_EPISODES:
            return None
        if self._start is None:
            self._start = recent
            return None
        first = self._start.episodes[1].item()
        before, now = self._start.episodes[3].item() / first, recent.episodes[3].item() / number
        most = wilson(before, first)[1] + MOST_GAP
        if wilson(now, number)[0] <= most:
            return None
        return Alarm(
            "gap",
            f"{now:.1%} of the last {number} episodes got a reward without any success "
            f"({before:.1%} at the start), expected at most {most:.1%}: the agent exploits the "
            "reward. Look at the highest-scored frames; raise the threshold, or add negatives.",
        )
