"""The returns of an episode, the VLM's and the env's own: kept over fragments, then logged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.scored_steps import truth_of

__all__ = ["add_rewards", "keep_ground_truth", "log_scores", "outcomes_of"]

# RLlib's own window for episode returns (metrics_num_episodes_for_smoothing).
WINDOW = 100


def keep_ground_truth(episode: SingleAgentEpisode, success_key: str) -> int:
    """Note the env's reward of the last step, before another replaces it.

    The step's value goes to the info, the sum to ``custom_data``, and so does success at any step,
    where the env has ground truth.

    Returns:
        FAILURE, SUCCESS or UNKNOWN: whether the step is a success.
    """
    # The buffers' lists: get_infos() and get_rewards() take a microsecond each.
    info, data = episode.infos.data[-1], episode.custom_data
    reward = info[custom_data.ENV_REWARD] = float(episode.rewards.data[-1])
    data[custom_data.ENV_RETURN] = data.get(custom_data.ENV_RETURN, 0.0) + reward
    if success_key not in info:
        return truth_of(None)
    success = bool(info[success_key])
    data[custom_data.SUCCESS] = data.get(custom_data.SUCCESS, False) or success
    return truth_of(success)


def add_rewards(
    metrics: MetricsLogger,
    chunk: SingleAgentEpisode,
    successor: SingleAgentEpisode | None,
    paid: npt.NDArray[np.float32],
    threshold: float | None,
) -> None:
    """Add a chunk's VLM rewards to its episode's; log the episode if the chunk ends it.

    Args:
        metrics: the env runner's logger.
        chunk: the chunk that leaves the env runner.
        successor: the chunk that goes on; ``cut()`` copied its ``custom_data`` too early.
        paid: what the VLM pays for each of the chunk's steps, float32 ``[T]``.
        threshold: β; only with one does a reward fire.
    """
    data = chunk.custom_data
    vlm_return, fires = custom_data.VLM_RETURN, custom_data.FIRES
    data[vlm_return] = data.get(vlm_return, 0.0) + float(paid.sum())
    data[fires] = data.get(fires, 0) + int((paid > 0).sum())
    if chunk.is_done:
        _log_episode(metrics, (), data, threshold)
        if chunk.agent_id is not None:
            _log_episode(metrics, (names.AGENTS, str(chunk.agent_id)), data, threshold)
    elif successor is not None:
        successor.custom_data.update({key: data[key] for key in (vlm_return, fires)})


def outcomes_of(samples: Sequence[SingleAgentEpisode]) -> list[tuple[bool | None, bool]]:
    """Return for each episode that ended whether it succeeded, and whether the VLM paid for it.

    Success is None where the env has no ground truth.
    """
    ended = (chunk.custom_data for chunk in samples if len(chunk) and chunk.is_done)
    return [(data.get(custom_data.SUCCESS), data[custom_data.FIRES] > 0) for data in ended]


def log_scores(metrics: MetricsLogger, scores: Sequence[float] | npt.NDArray[np.float32]) -> None:
    """Log the scores of a fragment's frames, and how many there were."""
    if not len(scores):
        return
    each = np.asarray(scores, np.float64)
    _log(metrics, (names.SCORE_MEAN,), float(each.mean()), window=WINDOW)
    _log(metrics, (names.SCORE_MIN,), float(each.min()), reduce="min", window=WINDOW)
    _log(metrics, (names.SCORE_MAX,), float(each.max()), reduce="max", window=WINDOW)
    _log(metrics, (names.FRAMES,), len(each), reduce="lifetime_sum", with_throughput=True)


def _log_episode(
    metrics: MetricsLogger, of: tuple[str, ...], data: dict[str, Any], threshold: float | None
) -> None:
    vlm_return, env_return = data[custom_data.VLM_RETURN], data[custom_data.ENV_RETURN]
    values = {
        names.VLM_RETURN: vlm_return,
        names.GROUND_TRUTH_RETURN: env_return,
        names.RETURN_GAP: vlm_return - env_return,
    }
    if threshold is not None:
        values[names.FIRES_PER_EPISODE] = data[custom_data.FIRES]
    if custom_data.SUCCESS in data:
        values[names.GROUND_TRUTH_SUCCESS] = float(data[custom_data.SUCCESS])
    for name, value in values.items():
        _log(metrics, (*of, name), value, window=WINDOW)


def _log(metrics: MetricsLogger, key: tuple[str, ...], value: float, **how: Any) -> None:
    metrics.log_value((names.GROUP, *key), value, **how)
