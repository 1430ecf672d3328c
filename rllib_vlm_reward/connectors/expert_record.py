"""Records what each expert said of each step, for recounts, metrics and the alarm ``expert``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.connectors.custom_data import EXPERT_SCORES
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.reward_model.scorer import Scores

__all__ = ["ExpertRecord"]

_WINDOW = 100  # fragments of each env runner


class ExpertRecord:
    """Sums up a fragment's answers of the experts.

    Args:
        experts: the names of the E experts.

    Example:
        >>> record, info = ExpertRecord(["large", "small"]), {}
        >>> record.read(np.float32([[0.5, 0.0, 0.5, np.nan]]), [info])
        array([0.5], dtype=float32)
        >>> info
        {'expert_scores': {'large': 0.5}}
    """

    def __init__(self, experts: Sequence[str]) -> None:
        self._experts = experts
        self._answers: list[Scores] = []

    def read(self, answer: Scores, infos: Sequence[dict[str, Any]]) -> Scores:
        """Record a request's answer, and return the combined scores, float32 ``[B]``.

        Args:
            answer: float32 ``[B, 2 + E]``, see :meth:`.Panel.answer`.
            infos: the infos of the B steps. Each gets the scores of the experts that answered.
        """
        self._answers.append(answer)
        for info, scores in zip(infos, answer[:, 2:].tolist(), strict=True):
            said = zip(self._experts, scores, strict=True)
            info[EXPERT_SCORES] = {name: score for name, score in said if score == score}
        return answer[:, 0]

    def log(self, metrics: MetricsLogger, agent: str | int | None, *, alarms: bool) -> None:
        """Log a fragment's disagreement, and each expert's mean score and share of answers.

        Args:
            metrics: the env runner's logger.
            agent: the agent with this reward; None stands for all without their own settings.
            alarms: also log for the alarm ``expert`` who answered.
        """
        if not self._answers:
            return
        answers = np.concatenate(self._answers)
        self._answers = []
        scores = answers[:, 2:]
        values: dict[tuple[str, ...], float]
        values = {(names.DISAGREEMENT,): float(answers[:, 1].mean())}
        numbers = (~np.isnan(scores)).sum(axis=0)
        for place, name in enumerate(self._experts):
            values[names.EXPERTS, name, names.ANSWERED] = float(numbers[place] / len(scores))
            if numbers[place]:
                mean = float(np.nanmean(scores[:, place]))
                values[names.EXPERTS, name, names.SCORE_MEAN] = mean
        for key, value in values.items():
            metrics.log_value((names.GROUP, *key), value, window=_WINDOW)
        if alarms:
            rows = list(zip(self._experts, numbers.tolist(), strict=True))
            names.log_item(metrics, names.EXPERT_ANSWERS, (agent, len(scores), rows))
