"""An episode's returns, VLM's and ground truth's, kept across fragments and logged at its end.

They live in ``episode.custom_data``, which RLlib copies into the chunk that goes on: floats and
bools only, for it copies them at each cut.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

__all__ = ["add_rewards", "keep_ground_truth", "log_scores"]

# RLlib's own window for episode returns (metrics_num_episodes_for_smoothing).
WINDOW = 100


def keep_ground_truth(episode: SingleAgentEpisode, success_key: str) -> bool | None:
    """Note the env's reward of the last step, before another replaces it.

    The step's value goes to ``info["env_reward"]``, the sum to ``custom_data["env_return"]``,
    and success at any step, where the env tells it, to ``custom_data["success"]``.

    Returns:
        whether the step is a success; None where the env does not tell.
    """
    info, data = episode.get_infos(-1), episode.custom_data
    info["env_reward"] = float(episode.get_rewards(-1))
    data["env_return"] = data.get("env_return", 0.0) + info["env_reward"]
    if success_key not in info:
        return None
    success = bool(info[success_key])
    data["success"] = data.get("success", False) or success
    return success


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
    data["vlm_return"] = data.get("vlm_return", 0.0) + float(paid.sum())
    data["fires"] = data.get("fires", 0) + int((paid > 0).sum())
    if chunk.is_done:
        _log_episode(metrics, (), data, threshold)
        if chunk.agent_id is not None:
            _log_episode(metrics, ("agents", str(chunk.agent_id)), data, threshold)
    elif successor is not None:
        successor.custom_data.update(vlm_return=data["vlm_return"], fires=data["fires"])


def log_scores(metrics: MetricsLogger, scores: Sequence[float]) -> None:
    """Log a fragment's scores and how many there were."""
    if not scores:
        return
    _log(metrics, ("score_mean",), float(np.mean(scores)), window=WINDOW)
    _log(metrics, ("score_min",), min(scores), reduce="min", window=WINDOW)
    _log(metrics, ("score_max",), max(scores), reduce="max", window=WINDOW)
    _log(metrics, ("frames",), len(scores), reduce="lifetime_sum", with_throughput=True)


def _log_episode(
    metrics: MetricsLogger, of: tuple[str, ...], data: dict[str, Any], threshold: float | None
) -> None:
    _log(metrics, (*of, "vlm_return_mean"), data["vlm_return"], window=WINDOW)
    _log(metrics, (*of, "ground_truth_return_mean"), data["env_return"], window=WINDOW)
    _log(metrics, (*of, "return_gap"), data["vlm_return"] - data["env_return"], window=WINDOW)
    if threshold is not None:
        _log(metrics, (*of, "fires_per_episode"), data["fires"], window=WINDOW)
    if "success" in data:
        _log(metrics, (*of, "ground_truth_success"), float(data["success"]), window=WINDOW)


def _log(metrics: MetricsLogger, key: tuple[str, ...], value: float, **how: Any) -> None:
    metrics.log_value(("vlm_reward", *key), value, **how)
