"""The monitor of a run's rewards, on the driver: what the env runners' scores come to."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import AlarmError
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.alarms import KINDS, Alarm, Alarms, auroc
from rllib_vlm_reward.monitoring.highlights import MOST, best
from rllib_vlm_reward.monitoring.score_statistics import (
    FAILURE,
    SUCCESS,
    UNKNOWN,
    ScoreStatistics,
)
from rllib_vlm_reward.monitoring.scored_steps import ScoredFrame

__all__ = ["RewardMonitor", "log_highlights", "log_statistics", "measures"]

_LOG = logging.getLogger(__name__)
Agent = str | int | None


def log_statistics(metrics: MetricsLogger, agent: Agent, statistics: ScoreStatistics) -> None:
    """Log a fragment's statistics; ``agent`` is None for the agents without their own reward."""
    names.log_item(metrics, names.STATISTICS, (agent, statistics.pack()))


def log_highlights(metrics: MetricsLogger, highlights: Sequence[ScoredFrame]) -> None:
    """Log a fragment's highest-scored frames, as plain tuples."""
    for highlight in highlights:
        names.log_item(metrics, names.HIGHLIGHTS, tuple(highlight))


class RewardMonitor:
    """Adds up an iteration's score statistics, and says when a reward is not to be trusted.

    Args:
        config: the reward of the run. The rewards of agents with different settings are monitored
            apart.

    Attributes:
        statistics: of the last iteration, by agent; None stands for the agents without settings.
        highlights: the last iteration's highest-scored frames, highest first.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        each = {agent: config.for_agent(agent) for agent in (None, *config.agents)}
        self._configs: dict[Agent, VLMRewardConfig] = {a: it for a, it in each.items() if it}
        self._alarms = {
            agent: Alarms(
                low=it.head.range[0], high=it.head.range[1], threshold=it.threshold_in_force
            )
            for agent, it in self._configs.items()
        }
        self._mode = config.alarms
        self._weights: str | None = None
        self.statistics: dict[Agent, ScoreStatistics] = {}
        self.highlights: list[ScoredFrame] = []

    def get_state(self) -> dict[str, Any]:
        """Return all that later alarms rest on, for a checkpoint."""
        alarms = {str(agent): it.get_state() for agent, it in self._alarms.items()}
        return {"weights": self._weights, "alarms": alarms}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same reward; an empty one begins anew."""
        self._weights = state.get("weights")
        for agent, alarms in self._alarms.items():
            alarms.set_state(state.get("alarms", {}).get(str(agent), {}))

    def histograms(self) -> Iterator[tuple[str, npt.NDArray[np.int64], tuple[float, float]]]:
        """Yield the last iteration's histograms that hold something.

        For each its name, ``success``, ``failure`` or ``unknown`` (``AGENT/success`` and so on for
        an agent that is monitored apart), its counts, int64 ``[BINS]``, and the scores at which the
        first bin begins and the last one ends.
        """
        for agent, statistics in self.statistics.items():
            for kind, name in ((SUCCESS, "success"), (FAILURE, "failure"), (UNKNOWN, "unknown")):
                if statistics.counts[kind].any():
                    whole = name if agent is None else f"{agent}/{name}"
                    yield whole, statistics.counts[kind], self._configs[agent].head.range

    @property
    def in_force(self) -> list[str]:
        """The kinds of the alarms that hold now, for any agent."""
        kinds = {kind for alarms in self._alarms.values() for kind in alarms.in_force}
        return [kind for kind in KINDS if kind in kinds]

    def update(self, result: dict[str, Any], actors: Iterable[Mapping[str, Any]]) -> None:
        """Take an iteration's statistics out of its result, and put their measures into it.

        Args:
            result: the result of the iteration.
            actors: what the pool's actors run, see :meth:`.RewardPool.describe`.

        Raises:
            AlarmError: an alarm begins, and the configuration has ``alarms: error``.
        """
        shown = names.take_items(result, names.HIGHLIGHTS)
        self.highlights = best([ScoredFrame(*it) for it in shown], MOST)
        if self._mode == "off":
            return
        packed: dict[Agent, list[Any]] = {agent: [] for agent in self._configs}
        for agent, one in names.take_items(result, names.STATISTICS):
            packed[agent].append(one)
        self.statistics = {
            agent: ScoreStatistics.total(map(ScoreStatistics.unpack, each))
            for agent, each in packed.items()
        }
        group = result.setdefault(names.ENV_RUNNERS, {}).setdefault(names.GROUP, {})
        drift, lines = self._drift(actors), []
        for agent, statistics in self.statistics.items():
            begun = self._alarms[agent].update(statistics, result["training_iteration"], drift)
            lines += [_line(agent, alarm) for alarm in begun]
            place = group
            if agent is not None:
                place = group.setdefault(names.AGENTS, {}).setdefault(str(agent), {})
            place.update(self._metrics(agent))
        for line in lines:
            _LOG.warning(line)
        if lines and self._mode == "error":
            raise AlarmError("\n".join(lines))

    def _metrics(self, agent: Agent) -> dict[str, Any]:
        alarms, threshold = self._alarms[agent], self._configs[agent].threshold_in_force
        in_force = {kind: float(kind in alarms.in_force) for kind in KINDS}
        return {**measures(alarms.recent, fires=threshold is not None), names.ALARM: in_force}

    def _drift(self, actors: Iterable[Mapping[str, Any]]) -> Alarm | None:
        """Compare the models that serve with that of the first iteration.

        An actor that restarts reads its weights again, from a file that may be another by now. It
        may compute in another precision: :meth:`.CLIPEncoder.tower_for` bounds what that
        does to scores.
        """
        served = {it["encoder_fingerprint"] for it in actors}
        if self._weights is None and len(served) == 1:
            (self._weights,) = served
        others = sorted(served - {self._weights})
        if self._weights is None or not others:
            return None
        now = ", ".join(weights[:12] for weights in others)
        return Alarm(
            "drift",
            f"scores come from another model: weights {now}, expected {self._weights[:12]}, as "
            "at the start. An actor restarted with it, or the run goes on elsewhere: restore the "
            "encoder's file, or start a new run.",
        )


def measures(statistics: ScoreStatistics, *, fires: bool) -> dict[str, float]:
    """Return the metrics of score statistics, as far as they can be known.

    ``score_auroc``; and where a reward fires ``fires_share`` (of steps), ``precision``, ``recall``
    and ``false_positives_per_episode``.

    Example:
        >>> fired, truths = [True, False, True], [SUCCESS, SUCCESS, FAILURE]
        >>> columns = ["e"] * 3, [0.9, 0.2, 0.8], fired, truths
        >>> seen = ScoreStatistics.of(*columns, ended=[(True, True)])
        >>> measures(seen, fires=True)  # doctest: +NORMALIZE_WHITESPACE
        {'fires_share': 0.6666666666666666, 'precision': 0.5, 'recall': 0.5,
         'false_positives_per_episode': 1.0, 'score_auroc': 0.5}
    """
    steps, fired = statistics.counts.sum(axis=1), statistics.fired
    known = {names.SCORE_AUROC: auroc(statistics)[0]}
    if fires:
        known = {
            names.FIRES_SHARE: _share(fired.sum(), steps.sum()),
            names.PRECISION: _share(fired[SUCCESS], fired[SUCCESS] + fired[FAILURE]),
            names.RECALL: _share(fired[SUCCESS], steps[SUCCESS]),
            names.FALSE_POSITIVES: _share(fired[FAILURE], statistics.episodes[1]),
            **known,
        }
    return {name: value for name, value in known.items() if math.isfinite(value)}


def _line(agent: Agent, alarm: Alarm) -> str:
    of = "" if agent is None else f" of agent {agent!r}"
    return f"reward alarm{of}, {alarm.kind}: {alarm.text}"


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan
