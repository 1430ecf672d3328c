"""Records after which step of an episode other goals than its own first held."""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.connectors.custom_data import FIRST_STEPS, GOAL_INDEX
from rllib_vlm_reward.connectors.episode_metrics import WINDOW
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.scored_steps import ScoredSteps

__all__ = ["FirstSteps"]


class FirstSteps:
    """Keeps for each episode in progress which goals have held, and since which step.

    A frame names only so many goals. Once more than these may hold in a frame of an episode, it is
    not known any more when another goal first holds, so nothing more is recorded of that episode.

    Args:
        goals: all goals of the run.
        num_candidates: number of goals that are looked for.

    Example:
        >>> goals = GoalSet.from_texts(["a ball", "a key", "a box"])
        >>> chunk = SingleAgentEpisode(id_="a", len_lookback_buffer=0)
        >>> chunk.add_env_reset(observation=0)
        >>> chunk.add_env_step(observation=0, action=0, reward=0.0)
        >>> chunk.custom_data[GOAL_INDEX] = 0
        >>> first_steps = FirstSteps(goals, num_candidates=3)
        >>> first_steps.begin(["a"], np.float32([[1, 0.9, -1, 0]]))
        >>> first_steps.see(ScoredSteps.begin([chunk], [0], [0], []), np.float32([[2, 1, 0, 0.9]]))
        >>> first_steps.write([chunk], MetricsLogger())
        >>> chunk.custom_data[FIRST_STEPS]
        {'1': 0, '2': 1}
    """

    def __init__(self, goals: GoalSet, num_candidates: int) -> None:
        self._goals, self._num_candidates = goals, num_candidates
        self._episodes: dict[str, dict[int, int]] = {}
        self._unknown: set[str] = set()  # episodes of which a frame named as many as it can

    def begin(self, ids: Sequence[str], holding: npt.NDArray[np.float32]) -> None:
        """Record what holds in the frames of resets, by the ids of their episodes.

        Args:
            ids: ids of B episodes.
            holding: float32 ``[B, 2 * k]``, see :attr:`.Holds.names`.
        """
        self._record(ids, np.zeros(len(ids), np.int64), holding)

    def see(self, steps: ScoredSteps, holding: npt.NDArray[np.float32]) -> None:
        """Record what holds in the frames after steps, float32 ``[N, 2 * k]``."""
        self._record([episode.id_ for episode in steps.episodes], steps.t, holding)

    def write(self, samples: Sequence[SingleAgentEpisode], metrics: MetricsLogger) -> None:
        """Write what is known into chunks that leave the env runner; log episodes that ended.

        What an episode's own goal did is left out, whatever its wording.
        """
        for chunk in samples:
            if not len(chunk):
                continue
            own = self._goals[chunk.custom_data[GOAL_INDEX]].prompt
            first = {
                str(goal): step
                for goal, step in self._episodes.get(chunk.id_, {}).items()
                if self._goals[goal].prompt != own
            }
            chunk.custom_data[FIRST_STEPS] = first
            if chunk.is_done:
                key = names.GROUP, names.HINDSIGHT, names.GOALS_BY_CHANCE
                metrics.log_value(key, sum(step > 0 for step in first.values()), window=WINDOW)

    def keep_only(self, ids: Collection[str]) -> None:
        """Drop what is known of all episodes but these; the others ended or were abandoned."""
        self._episodes = {id_: first for id_, first in self._episodes.items() if id_ in ids}
        self._unknown &= {*ids}

    def _record(
        self,
        ids: Sequence[str],
        steps: npt.NDArray[np.int64],
        holding: npt.NDArray[np.float32],
    ) -> None:
        goals = holding[:, ::2].astype(np.int64)
        cut = goals.shape[1] < self._num_candidates
        for row in (goals >= 0).any(axis=1).nonzero()[0].tolist():
            if ids[row] in self._unknown:
                continue
            first = self._episodes.setdefault(ids[row], {})
            for goal in goals[row][goals[row] >= 0].tolist():
                first.setdefault(goal, int(steps[row]))
            if cut and (goals[row] >= 0).all():
                self._unknown.add(ids[row])
