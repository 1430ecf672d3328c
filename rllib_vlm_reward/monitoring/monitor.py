"""Monitors the rewards of a run, on the driver."""

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
from rllib_vlm_reward.monitoring.frame_statistics import FrameAlarms, SubEnvFrames
from rllib_vlm_reward.monitoring.highlights import MOST, best
from rllib_vlm_reward.monitoring.hint_alarms import HintAlarms
from rllib_vlm_reward.monitoring.score_statistics import (
    FAILURE,
    SUCCESS,
    UNKNOWN,
    ScoreStatistics,
)
from rllib_vlm_reward.monitoring.scored_steps import ScoredFrame

__all__ = ["RewardMonitor", "log_frames", "log_highlights", "log_statistics", "measures"]

_LOG = logging.getLogger(__name__)
Agent = str | int | None


def log_statistics(metrics: MetricsLogger, agent: Agent, statistics: ScoreStatistics) -> None:
    """Log a fragment's statistics; ``agent`` is None for all agents without their own settings."""
    names.log_item(metrics, names.STATISTICS, (agent, statistics.pack()))


def log_frames(
    metrics: MetricsLogger, agent: Agent, runner: int, frames: Sequence[SubEnvFrames]
) -> None:
    """Log the frames of a fragment's sub-envs, as plain tuples, with the env runner's index."""
    rows = [tuple(each) for each in frames]
    names.log_item(metrics, names.FRAME_STATISTICS, (agent, runner, rows))


def log_highlights(metrics: MetricsLogger, highlights: Sequence[ScoredFrame]) -> None:
    """Log a fragment's highest-scored frames, as plain tuples."""
    for highlight in highlights:
        names.log_item(metrics, names.HIGHLIGHTS, tuple(highlight))


class RewardMonitor:
    """Adds up the score statistics of all env runners, and raises alarms.

    Args:
        config: the reward of the run. Agents with their own settings are monitored separately.

    Attributes:
        statistics: the statistics of the last iteration, by agent. None stands for all agents
            without their own settings.
        highlights: the highest-scored frames of the last iteration, highest first.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        configs = {agent: config.for_agent(agent) for agent in (None, *config.agents)}
        self._configs: dict[Agent, VLMRewardConfig] = {
            agent: reward for agent, reward in configs.items() if reward
        }
        self._alarms = {
            agent: Alarms(
                low=reward.score_range[0],
                high=reward.score_range[1],
                threshold=reward.threshold_in_force,
            )
            for agent, reward in self._configs.items()
        }
        # With a still scene, an iteration has no items for this.
        self._frames = {agent: FrameAlarms() for agent in self._configs}
        self._hints = {
            agent: HintAlarms([hint.name for hint in reward.hint_set.hints])
            for agent, reward in self._configs.items()
            if reward.hint_set is not None
        }
        self._mode = config.alarms
        self._weights: dict[str, str] = {}  # by expert; without experts under an empty name
        self.statistics: dict[Agent, ScoreStatistics] = {}
        self.highlights: list[ScoredFrame] = []

    def get_state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        states = {str(agent): alarms.get_state() for agent, alarms in self._alarms.items()}
        frames = {str(agent): alarms.get_state() for agent, alarms in self._frames.items()}
        hints = {str(agent): alarms.get_state() for agent, alarms in self._hints.items()}
        return {"weights": self._weights, "alarms": states, "frames": frames, "hints": hints}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Set the state, which must be of the same reward; an empty one is that of a new run."""
        self._weights = dict(state.get("weights") or {})
        for agent, alarms in self._alarms.items():
            alarms.set_state(state.get("alarms", {}).get(str(agent), {}))
        for agent, frame_alarms in self._frames.items():
            frame_alarms.set_state(state.get("frames", {}).get(str(agent), ()))
        for agent, hint_alarms in self._hints.items():
            hint_alarms.set_state(state.get("hints", {}).get(str(agent), ()))

    def histograms(self) -> Iterator[tuple[str, npt.NDArray[np.int64], tuple[float, float]]]:
        """Yield (name, counts, bounds) for each histogram of the last iteration with any steps.

        The name is ``success``, ``failure`` or ``unknown``; for an agent with its own settings
        ``AGENT/success`` and so on. The counts are int64 ``[BINS]``. The bounds are the scores at
        which the first bin begins and the last bin ends.
        """
        for agent, statistics in self.statistics.items():
            for kind, name in ((SUCCESS, "success"), (FAILURE, "failure"), (UNKNOWN, "unknown")):
                if statistics.counts[kind].any():
                    full_name = name if agent is None else f"{agent}/{name}"
                    yield full_name, statistics.counts[kind], self._configs[agent].score_range

    @property
    def in_force(self) -> list[str]:
        """The kinds of the alarms that are on, for any agent."""
        kinds = {kind for alarms in self._alarms.values() for kind in alarms.in_force}
        return [kind for kind in KINDS if kind in kinds]

    def update(self, result: dict[str, Any], actors: Iterable[Mapping[str, Any]]) -> None:
        """Replace an iteration's statistics in its result by metrics, and log new alarms.

        Args:
            result: the result of the iteration; changed in place.
            actors: the descriptions of the pool's actors, see :meth:`.RewardPool.describe`.

        Raises:
            AlarmError: an alarm begins, and the configuration has ``alarms: error``.
        """
        highlights = names.take_items(result, names.HIGHLIGHTS)
        self.highlights = best([ScoredFrame(*item) for item in highlights], MOST)
        if self._mode == "off":
            return
        packed: dict[Agent, list[Any]] = {agent: [] for agent in self._configs}
        for agent, item in names.take_items(result, names.STATISTICS):
            packed[agent].append(item)
        self.statistics = {
            agent: ScoreStatistics.total(map(ScoreStatistics.unpack, items))
            for agent, items in packed.items()
        }
        seen: dict[Agent, list[Any]] = {agent: [] for agent in self._configs}
        for agent, runner, rows in names.take_items(result, names.FRAME_STATISTICS):
            seen[agent].append((runner, rows))
        group = result.setdefault(names.ENV_RUNNERS, {}).setdefault(names.GROUP, {})
        answers: dict[Agent, list[Any]] = {agent: [] for agent in self._configs}
        for agent, *item in names.take_items(result, names.EXPERT_ANSWERS):
            answers[agent].append(item)
        hints: dict[Agent, list[Any]] = {agent: [] for agent in self._configs}
        for agent, rows in names.take_items(result, names.HINT_EPISODES):
            hints[agent] += rows
        drift, lines = self._drift(actors), []
        for agent, statistics in self.statistics.items():
            others = [*drift, *self._frames[agent].update(seen[agent])]
            others += _missing_experts(answers[agent])
            if agent in self._hints:
                others += self._hints[agent].update(hints[agent])
            new = self._alarms[agent].update(statistics, result["training_iteration"], others)
            lines += [_line(agent, alarm) for alarm in new]
            metrics = group
            if agent is not None:
                metrics = group.setdefault(names.AGENTS, {}).setdefault(str(agent), {})
            metrics.update(self._metrics(agent))
        group[names.ALARMS] = float(len(self.in_force))
        for line in lines:
            _LOG.warning(line)
        if lines and self._mode == "error":
            raise AlarmError("\n".join(lines))

    def _metrics(self, agent: Agent) -> dict[str, Any]:
        alarms, threshold = self._alarms[agent], self._configs[agent].threshold_in_force
        in_force = {kind: float(kind in alarms.in_force) for kind in KINDS}
        return {**measures(alarms.recent, fires=threshold is not None), names.ALARM: in_force}

    def _drift(self, actors: Iterable[Mapping[str, Any]]) -> list[Alarm]:
        """Compare the weights that the actors use with those of the first iteration.

        An actor that restarts reads its weights again, and the file may have changed since. A
        change of the precision is not compared: :meth:`.CLIPEncoder.tower_for` bounds its effect
        on the scores.
        """
        served: dict[str, set[str]] = {}
        for actor in actors:
            served.setdefault(actor.get("expert", ""), set()).add(actor["encoder_fingerprint"])
        for expert, weights in served.items():
            if expert not in self._weights and len(weights) == 1:
                (self._weights[expert],) = weights
            others = sorted(weights - {self._weights.get(expert)})
            if expert not in self._weights or not others:
                continue
            now = ", ".join(each[:12] for each in others)
            source = f" of expert {expert!r}" if expert else ""
            text = (
                f"scores{source} come from another model: got weights {now}, expected "
                f"{self._weights[expert][:12]} as at the start. An actor restarted with another "
                "file, or the run was resumed on a machine with another file. Restore the "
                "encoder's file, or start a new run."
            )
            return [Alarm("drift", text)]
        return []


def _missing_experts(
    answers: Sequence[tuple[int, Sequence[tuple[str, int]]]],
) -> list[Alarm]:
    """Return an alarm if an expert did not answer all frames of an iteration.

    Args:
        answers: for each fragment the number of frames, and how many each expert answered.
    """
    frames, answered = sum(number for number, _ in answers), dict[str, int]()
    for _, rows in answers:
        for name, number in rows:
            answered[name] = answered.get(name, 0) + number
    missing = [f"{name!r} {number:,}" for name, number in answered.items() if number < frames]
    if not missing:
        return []
    text = (
        f"of {frames:,} frames, some experts answered fewer in time ({', '.join(missing)}), "
        "expected all. Only the scores of those who answer are combined. Look at the actors' logs; "
        "if they are only slow, raise the expert's serving.timeout_s, or add actors."
    )
    return [Alarm("expert", text)]


def measures(statistics: ScoreStatistics, *, fires: bool) -> dict[str, float]:
    """Compute metrics from score statistics; a metric that is not defined is left out.

    The metrics are ``score_auroc`` and, with ``fires``, ``fires_share`` (the share of the steps
    whose reward fired), ``precision``, ``recall`` and ``false_positives_per_episode``.

    Args:
        statistics: the statistics of the steps.
        fires: whether the reward has a threshold.

    Example:
        >>> fired, truths = [True, False, True], [SUCCESS, SUCCESS, FAILURE]
        >>> columns = ["e"] * 3, [0.9, 0.2, 0.8], fired, truths
        >>> seen = ScoreStatistics.of(*columns, ended=[(True, True)])
        >>> measures(seen, fires=True)  # doctest: +NORMALIZE_WHITESPACE
        {'fires_share': 0.6666666666666666, 'precision': 0.5, 'recall': 0.5,
         'false_positives_per_episode': 1.0, 'score_auroc': 0.5}
    """
    steps, fired = statistics.counts.sum(axis=1), statistics.fired
    values = {names.SCORE_AUROC: auroc(statistics)[0]}
    if fires:
        values = {
            names.FIRES_SHARE: _share(fired.sum(), steps.sum()),
            names.PRECISION: _share(fired[SUCCESS], fired[SUCCESS] + fired[FAILURE]),
            names.RECALL: _share(fired[SUCCESS], steps[SUCCESS]),
            names.FALSE_POSITIVES: _share(fired[FAILURE], statistics.episodes[1]),
            **values,
        }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _line(agent: Agent, alarm: Alarm) -> str:
    owner = "" if agent is None else f" of agent {agent!r}"
    return f"reward alarm{owner}, {alarm.kind}: {alarm.text}"


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan
