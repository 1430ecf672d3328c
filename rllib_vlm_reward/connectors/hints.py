"""What hints pay for each step, beside the goal's reward."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.custom_data import GOAL_INDEX
from rllib_vlm_reward.connectors.episode_metrics import WINDOW
from rllib_vlm_reward.connectors.novelty import Novelty
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.hint_alarms import log_hint_episodes
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps

__all__ = ["Hints"]

Floats = npt.NDArray[np.float32]


class Hints:
    """Pays a hint in the first step of an episode after which it holds, unless the reset showed it.

    Args:
        config: the reward, which has hints.
        agent: the agent that has this reward; None stands for all agents without their own
            settings.

    Attributes:
        novelty: how new each hint of each goal is, by how often it was paid.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="small",
        ...     goals=["lift the {ball|key}"],
        ...     threshold=0.5,
        ...     hints={
        ...         "goals": {"lift {}": [{"statement": "at {0}", "nothing": "at nothing"}]},
        ...         "weight": 0.5,
        ...     },
        ... )
        >>> hints, episode = Hints(config), SingleAgentEpisode(id_="a")
        >>> hints.begin(["a"], np.float32([[0.1]]))
        >>> steps = ScoredSteps.begin([episode] * 3, [0] * 3, [0] * 3, [])
        >>> hints(steps, np.float32([[0.2], [0.9], [0.8]]))
        array([0. , 0.5, 0. ], dtype=float32)
    """

    def __init__(self, config: VLMRewardConfig, agent: str | int | None = None) -> None:
        hints, threshold = config.hints, config.hint_threshold
        assert hints is not None
        assert config.hint_set is not None
        assert threshold is not None
        self._agent, self._weight, self._repeatable = agent, hints.weight, hints.repeatable
        self._threshold = threshold
        self._names = [hint.name for hint in config.hint_set.hints]
        # Of each goal's hints [G, k]: the index of the hint, and its place among all hints of all
        # goals; -1 where a goal has fewer.
        self._lines = np.full((len(config.goal_set), config.hint_set.most), -1, np.int64)
        self._places = self._lines.copy()
        statements: list[int] = []
        for goal, own in enumerate(config.hint_set.of_goal):
            for place, (line, statement) in enumerate(own):
                self._lines[goal, place], self._places[goal, place] = line, len(statements)
                statements.append(statement)
        texts = [goal.prompt for goal in config.hint_set.goals.goals]
        self.novelty = Novelty(hints.decay, np.array(statements, np.int64), texts)
        # Of each episode, by its id: bool [k] and int64 [k].
        self._held_at_reset: dict[str, npt.NDArray[np.bool_]] = {}
        self._fires: dict[str, npt.NDArray[np.int64]] = {}

    def begin(self, ids: Sequence[str], scores: Floats) -> None:
        """Record which hints hold in the frames of resets, by the ids of their episodes.

        Args:
            ids: ids of B episodes.
            scores: float32 ``[B, k]``, see :class:`.HintScores`.
        """
        self._held_at_reset |= zip(ids, scores > self._threshold, strict=True)

    def __call__(self, steps: ScoredSteps, scores: Floats) -> Floats:
        """Return what N steps are paid, in the order in which they were stepped.

        Args:
            steps: the steps.
            scores: float32 ``[N, k]``: the scores of the hints in the frames after the steps.
        """
        paid = np.zeros(len(steps), np.float32)
        holds = (scores > self._threshold) & (self._lines[steps.goals] >= 0)
        for row in np.flatnonzero(holds.any(axis=1)).tolist():
            id_, found = steps.episodes[row].id_, holds[row]
            fires = self._fires.setdefault(id_, np.zeros(len(found), np.int64))
            if not self._repeatable:
                found = found & (fires == 0) & ~self._held_at_reset[id_]
            fires += found
            hints = self._places[steps.goals[row]][found].tolist()
            paid[row] = self._weight * sum(map(self.novelty.pay, hints))
        return paid

    def log(
        self, samples: Sequence[SingleAgentEpisode], metrics: MetricsLogger, *, alarms: bool
    ) -> None:
        """Log how often each hint was paid in the episodes that ended.

        Args:
            samples: the chunks that are about to leave the env runner.
            metrics: the env runner's logger.
            alarms: whether to log what :class:`.HintAlarms` reads, too.
        """
        agent = () if self._agent is None else (names.AGENTS, str(self._agent))
        episodes: dict[int, list[tuple[int, bool]]] = {}
        for chunk in samples:
            if not (len(chunk) and chunk.is_done):
                continue
            lines = self._lines[chunk.custom_data[GOAL_INDEX]]
            fires = self._fires.get(chunk.id_, np.zeros(len(lines), np.int64))
            for place in np.flatnonzero(lines >= 0).tolist():
                seen = int(fires[place]), bool(self._held_at_reset[chunk.id_][place])
                episodes.setdefault(int(lines[place]), []).append(seen)
                group = (names.GROUP, *agent, names.HINTS, self._names[lines[place]])
                metrics.log_value((*group, names.FIRES_PER_EPISODE), seen[0], window=WINDOW)
                metrics.log_value((*group, names.HELD_AT_RESET), float(seen[1]), window=WINDOW)
        if alarms and episodes:
            log_hint_episodes(metrics, self._agent, episodes)

    def keep_only(self, ids: Collection[str]) -> None:
        """Drop what is known of all episodes but these; the others ended or were abandoned."""
        self._held_at_reset = {id_: each for id_, each in self._held_at_reset.items() if id_ in ids}
        self._fires = {id_: each for id_, each in self._fires.items() if id_ in ids}

    def get_state(self) -> dict[str, Any]:
        """Return how often each hint was paid, see :meth:`.Novelty.get_state`."""
        return self.novelty.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Add the counts of a state, where they are newer than the present ones."""
        self.novelty.set_state(dict(state))

    def clear(self) -> None:
        """Forget how often each hint was paid."""
        self.novelty.clear()
