"""Decides from the score statistics of the last iterations whether a reward can be trusted."""

import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Sequence
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

# All alarms; one that is missing here is logged, but neither counted nor known to `alarms`.
# frame_statistics.py raises blank and frozen, monitor.py raises drift and expert, hint_alarms.py
# raises hints.
KINDS = (
    *("constant", "saturated", "blind", "contrary", "gap", "silent"),
    *("blank", "frozen", "drift", "expert", "hints"),
)

WINDOW, LONGEST_WINDOW = 3, 64  # iterations
MIN_STEPS, MIN_EPISODES = 256, 20
# Within an episode on BabyAI, the scores of trained CLIPs vary by 6 to 10 times their mean, those
# of untrained CLIPs by 0.02 to 0.08 times (docs/alarms.md).
LEAST_SPREAD, LEAST_COSINE_SPREAD = 0.05, 0.001
MOST_FIRES = 0.95
# The upper end of the 95 % interval must reach these.
LEAST_AUROC, LEAST_MARGIN = 0.7, 0.3
MOST_GAP = 0.1
# False fires in an episode: added to those at the start, and as a factor of those at the start.
MOST_FALSE_FIRES, MOST_GROWTH = 0.3, 1.5
MOST_SILENT = 500  # episodes
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
        recent: the summed statistics of the last :data:`WINDOW` iterations; of more, up to
            :data:`LONGEST_WINDOW`, while these hold too few steps or episodes to judge.

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
        self._window: deque[ScoreStatistics] = deque(maxlen=LONGEST_WINDOW)
        self._start: ScoreStatistics | None = None
        self._first: int | None = 1
        self._steps: int | None = None  # before this iteration
        self._silent = 0  # episodes that ended since the reward last fired

    def update(
        self, statistics: ScoreStatistics, iteration: int, others: Sequence[Alarm] = ()
    ) -> list[Alarm]:
        """Add the statistics of an iteration; return the alarms that begin now.

        Args:
            statistics: the statistics of the iteration.
            iteration: the number of the iteration in the run, from 1.
            others: the alarms about model and frames, see :meth:`.RewardMonitor.update`.
        """
        if statistics.steps or statistics.episodes[0]:
            self._window.append(statistics)
            self._shorten_window()
        self.recent = recent = ScoreStatistics.total(self._window)
        self._silent = 0 if statistics.fired.any() else self._silent + int(statistics.episodes[0])
        early = self._is_early(statistics, iteration)
        found = [*others, self._constant(recent, early), self._saturated(recent, early)]
        found += [self._blind(recent), self._gap(recent), self._never_fires()]
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
            "steps": self._steps,
            "silent": self._silent,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Set the state; an empty state is that of a new run.

        Alarms that are still on at the next :meth:`update` are returned again, because a restored
        run writes a new log.
        """
        start, in_force = state.get("start"), state.get("in_force", {})
        packed = state.get("window", ())
        self._window = deque(map(ScoreStatistics.unpack, packed), LONGEST_WINDOW)
        self.recent = ScoreStatistics.total(self._window)
        self._start = None if start is None else ScoreStatistics.unpack(start)
        self.in_force = {kind: Alarm(kind, text) for kind, text in in_force.items()}
        self._announced = set()
        self._first = state.get("first")
        self._steps = state.get("steps")
        self._silent = state.get("silent", 0)

    def _shorten_window(self) -> None:
        """Keep the last iterations, and before these what a judgement needs."""
        while len(self._window) > WINDOW:
            rest = [*self._window][1:]
            steps = sum(each.steps for each in rest)
            ended = sum(int(each.episodes[0]) for each in rest)
            if steps < MIN_STEPS or ended < 2 * MIN_EPISODES:  # of successes and failures
                return
            self._window.popleft()

    def _is_early(self, statistics: ScoreStatistics, iteration: int) -> bool:
        """Return whether the run has just begun: few iterations, or few steps in all."""
        if self._first is None:
            self._first = iteration
        early = iteration < self._first + WINDOW
        if self._steps is None:
            self._steps = 0 if early else MIN_STEPS
        early, self._steps = early or self._steps < MIN_STEPS, self._steps + statistics.steps
        return early

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
        """Check whether more is paid without a success than at the start.

        First by the episodes that got a reward and never succeeded. An agent may also succeed at
        last, and be paid for other states until then; so the false fires of an episode count too.
        """
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
            return self._more_false_fires(self._start, recent)
        return Alarm(
            "gap",
            f"{now:.1%} of the last {number} episodes got a reward without any success "
            f"({before:.1%} at the start), expected at most {most:.1%}: the agent exploits the "
            "reward. Look at the highest-scored frames; raise the threshold, or add negatives.",
        )

    def _more_false_fires(self, start: ScoreStatistics, recent: ScoreStatistics) -> Alarm | None:
        """Check whether the reward fires wrongly more often, in an episode and among the steps."""
        rates, ends, shares, precisions = [], [], [], []
        for each in (start, recent):
            wrong, number = each.fired[FAILURE].item(), each.episodes[1].item()
            rates.append(wrong / number)
            # From the variance between episodes, with one fire more, or it may be 0 by chance.
            variance = (each.moments[4].item() + 1) / number - rates[-1] ** 2
            ends.append(Z * math.sqrt(max(variance, 0.0) / number))
            shares.append(wrong / max(each.counts[FAILURE].sum().item(), 1))
            precisions.append(each.fired[SUCCESS].item() / max(each.fired.sum().item(), 1))
        high = rates[0] + ends[0]
        most = max(high + MOST_FALSE_FIRES, MOST_GROWTH * high)
        if rates[1] - ends[1] <= most or shares[1] <= MOST_GROWTH * shares[0]:
            return None
        return Alarm(
            "gap",
            f"the reward fires {rates[1]:.2f} times an episode without a success ({rates[0]:.2f} "
            f"at the start; precision {precisions[1]:.2f}, at the start {precisions[0]:.2f}), "
            f"expected at most {most:.2f}: the agent exploits the reward, although it may succeed "
            "too. Look at the highest-scored failures; raise the threshold, or add negatives.",
        )

    def _never_fires(self) -> Alarm | None:
        """Check whether the agent gets no reward at all."""
        if self._threshold is None or self._silent < MOST_SILENT:
            return None
        return Alarm(
            "silent",
            f"the reward fired nowhere in the last {self._silent} episodes, expected a reward in "
            f"{MOST_SILENT} episodes. Check that the encoder knows the words of the goals; lower "
            "the threshold; or begin with easier goals.",
        )
