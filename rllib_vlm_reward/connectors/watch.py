"""The driver's watch over the rewards of a run: what the env runners tell of them, put together."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.alarm import KINDS, Alarm, Alarms, auroc
from rllib_vlm_reward.connectors.digest import FAILURE, SUCCESS, UNKNOWN, Digest, lowest_score
from rllib_vlm_reward.connectors.highlights import MOST, Highlight, best
from rllib_vlm_reward.connectors.series import log_item, take_items
from rllib_vlm_reward.errors import AlarmError

__all__ = ["RewardWatch", "log_digest", "log_highlights"]

_LOG = logging.getLogger(__name__)
_DIGESTS, _HIGHLIGHTS = "digests", "highlights"
Agent = str | int | None


def log_digest(metrics: MetricsLogger, agent: Agent, digest: Digest) -> None:
    """Log a fragment's digest."""
    log_item(metrics, _DIGESTS, (agent, digest.pack()))


def log_highlights(metrics: MetricsLogger, highlights: Sequence[Highlight]) -> None:
    """Log a fragment's highest-scored frames."""
    for highlight in highlights:
        log_item(metrics, _HIGHLIGHTS, tuple(highlight))


class RewardWatch:
    """Adds up an iteration's digests, and says when a reward is not to be trusted.

    Args:
        config: of the run. Agents with a reward of their own are watched apart.

    Attributes:
        digests: of the last iteration, by agent; None is for those without a reward of their own.
        highlights: the last iteration's highest-scored frames, highest first.
    """

    def __init__(self, config: VLMRewardConfig) -> None:
        own = {agent: config.for_agent(agent) for agent in (None, *config.agents)}
        self._configs: dict[Agent, VLMRewardConfig] = {a: it for a, it in own.items() if it}
        self._alarms = {
            agent: Alarms(low=lowest_score(it.head), threshold=it.threshold)
            for agent, it in self._configs.items()
        }
        self._mode = config.alarms
        self._weights: str | None = None
        self.digests: dict[Agent, Digest] = {}
        self.highlights: list[Highlight] = []

    def get_state(self) -> dict[str, Any]:
        """Return all that later alarms rest on, for a checkpoint."""
        alarms = {str(agent): its.get_state() for agent, its in self._alarms.items()}
        return {"weights": self._weights, "alarms": alarms}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same reward; an empty one begins anew."""
        self._weights = state.get("weights")
        for agent, its in self._alarms.items():
            its.set_state(state.get("alarms", {}).get(str(agent), {}))

    def histograms(self) -> Iterator[tuple[str, npt.NDArray[np.int64], float]]:
        """Yield the last iteration's histograms that hold something.

        Each with its name, ``success``, ``failure`` or ``unknown`` (after its agent's, if that is
        watched apart), its counts, int64 ``[BINS]``, and the score at which the first bin begins.
        """
        for agent, digest in self.digests.items():
            for kind, name in ((SUCCESS, "success"), (FAILURE, "failure"), (UNKNOWN, "unknown")):
                if digest.counts[kind].any():
                    whole = name if agent is None else f"{agent}/{name}"
                    yield whole, digest.counts[kind], lowest_score(self._configs[agent].head)

    @property
    def in_force(self) -> list[str]:
        """The kinds of the alarms that hold now, of any agent."""
        kinds = {kind for alarms in self._alarms.values() for kind in alarms.in_force}
        return [kind for kind in KINDS if kind in kinds]

    def see(self, result: dict[str, Any], actors: Iterable[Mapping[str, Any]]) -> None:
        """Take an iteration's digests out of its result, and put in what they come to.

        Args:
            result: of the iteration.
            actors: what the pool's actors run, see :meth:`.RewardPool.describe`.

        Raises:
            AlarmError: an alarm, where the configuration asks for an error.
        """
        self.highlights = best([Highlight(*it) for it in take_items(result, _HIGHLIGHTS)], MOST)
        if self._mode == "off":
            return
        packed: dict[Agent, list[Any]] = {agent: [] for agent in self._configs}
        for agent, each in take_items(result, _DIGESTS):
            packed[agent].append(each)
        self.digests = {
            agent: Digest.total(map(Digest.unpack, its)) for agent, its in packed.items()
        }
        room = result.setdefault("env_runners", {}).setdefault("vlm_reward", {})
        drift, told = self._drift(actors), []
        for agent, digest in self.digests.items():
            begun = self._alarms[agent].see(digest, result["training_iteration"], drift)
            told += [_line(agent, alarm) for alarm in begun]
            place = room
            if agent is not None:
                place = room.setdefault("agents", {}).setdefault(str(agent), {})
            place.update(self._numbers(agent))
        for line in told:
            _LOG.warning(line)
        if told and self._mode == "error":
            raise AlarmError("\n".join(told))

    def _numbers(self, agent: Agent) -> dict[str, Any]:
        watched, threshold = self._alarms[agent], self._configs[agent].threshold
        alarms = {kind: float(kind in watched.in_force) for kind in KINDS}
        return {**measures(watched.recent, fires=threshold is not None), "alarm": alarms}

    def _drift(self, actors: Iterable[Mapping[str, Any]]) -> Alarm | None:
        """Compare the models that serve with that of the first iteration.

        An actor that restarts reads its weights again, from a file that may be another by now. It
        may compute in another precision: :meth:`.RewardModel.check_precision` bounds what that
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


def measures(digest: Digest, *, fires: bool) -> dict[str, float]:
    """Return what scores say of their reward, as far as it can be known.

    ``score_auroc``; and where a reward fires ``fires_share`` (of steps), ``precision``, ``recall``
    and ``false_positives_per_episode``.

    Example:
        >>> from rllib_vlm_reward.connectors.digest import Steps
        >>> steps = Steps("e", [0.9, 0.2, 0.8], [True, False, True], [True, True, False])
        >>> seen = Digest.of([steps], low=0.0, ended=[(True, True)])
        >>> measures(seen, fires=True)  # doctest: +NORMALIZE_WHITESPACE
        {'fires_share': 0.6666666666666666, 'precision': 0.5, 'recall': 0.5,
         'false_positives_per_episode': 1.0, 'score_auroc': 0.5}
    """
    steps, fired = digest.counts.sum(axis=1), digest.fired
    told = {"score_auroc": auroc(digest)[0]}
    if fires:
        told = {
            "fires_share": _share(fired.sum(), steps.sum()),
            "precision": _share(fired[SUCCESS], fired[SUCCESS] + fired[FAILURE]),
            "recall": _share(fired[SUCCESS], steps[SUCCESS]),
            "false_positives_per_episode": _share(fired[FAILURE], digest.episodes[1]),
            **told,
        }
    return {name: value for name, value in told.items() if math.isfinite(value)}


def _line(agent: Agent, alarm: Alarm) -> str:
    of = "" if agent is None else f" of agent {agent!r}"
    return f"reward alarm{of}, {alarm.kind}: {alarm.text}"


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan
