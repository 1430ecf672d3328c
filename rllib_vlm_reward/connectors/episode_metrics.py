"""Sums up the VLM return and the env return of an episode over its fragments, and logs them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_vlm_reward.connectors import custom_data
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.monitoring import metric_names as names
from rllib_vlm_reward.monitoring.scored_steps import truth_of

__all__ = ["add_rewards", "keep_ground_truth", "log_scores", "outcomes_of", "success_of"]

# RLlib's own window for episode returns (metrics_num_episodes_for_smoothing).
WINDOW = 100
# The metrics of what is paid beside the VLM rewards.
_BESIDE = {
    custom_data.BONUS_RETURN: names.BONUS_RETURN,
    custom_data.HINT_RETURN: names.HINT_RETURN,
}


def keep_ground_truth(episode: SingleAgentEpisode, success_key: str) -> int:
    """Store the env's reward of the last step, before the VLM reward replaces it.

    Writes the reward into the step's info, and adds it to the sum in ``custom_data``. If the env
    has ground truth, ``custom_data`` also records whether any step was a success.

    Args:
        episode: the episode that was just stepped.
        success_key: key of the info that holds success, a bool.

    Returns:
        Whether the step is a success: FAILURE, SUCCESS or UNKNOWN.

    Raises:
        RewardError: see :func:`success_of`.
    """
    # Reads the buffers' lists, since get_infos() and get_rewards() take a microsecond each.
    info, data = episode.infos.data[-1], episode.custom_data
    reward = info[custom_data.ENV_REWARD] = float(episode.rewards.data[-1])
    data[custom_data.ENV_RETURN] = data.get(custom_data.ENV_RETURN, 0.0) + reward
    success = success_of(info, success_key)
    if success is None:
        return truth_of(None)
    data[custom_data.SUCCESS] = data.get(custom_data.SUCCESS, False) or success
    return truth_of(success)


def success_of(info: Mapping[str, Any], key: str) -> bool | None:
    """Return whether a step's info reports success; None if the key is missing.

    Args:
        info: the info of the step.
        key: the reward's ``success_key``.

    Raises:
        RewardError: the value is not a bool, a NumPy bool, 0 or 1.

    Example:
        >>> success_of({"success": np.True_}, "success"), success_of({}, "success")
        (True, None)
        >>> success_of({"success": "False"}, "success")
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.RewardError: success_key 'success': the env's info has 'False' \
(str), expected a bool, a NumPy bool, 0 or 1. Return one of these, or set another success_key.
    """
    if key not in info:
        return None
    value = info[key]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value.item()
    if not isinstance(value, bool | int | float | np.number) or value not in (0, 1):
        raise RewardError(
            f"success_key {key!r}: the env's info has {value!r} ({type(value).__name__}), expected "
            "a bool, a NumPy bool, 0 or 1. Return one of these, or set another success_key."
        )
    return bool(value)


def add_rewards(
    metrics: MetricsLogger,
    chunk: SingleAgentEpisode,
    successor: SingleAgentEpisode | None,
    paid: npt.NDArray[np.float32],
    threshold: float | None,
    beside: Mapping[str, npt.NDArray[np.float32]] = MappingProxyType({}),
) -> None:
    """Add a chunk's VLM rewards to the return of its episode; log the episode if it has ended.

    Args:
        metrics: the env runner's logger.
        chunk: the chunk that leaves the env runner.
        successor: the chunk that continues the episode, or None. RLlib's ``cut()`` filled its
            ``custom_data`` before the sums were known, so they are written there again.
        paid: float32 ``[T]``: the VLM reward of each step of the chunk, not normalised.
        threshold: β. Without one, the number of fires is not logged.
        beside: float32 ``[T]``: what is paid beside it, by the key of its sum in ``custom_data``.
    """
    data = chunk.custom_data
    vlm_return, fires = custom_data.VLM_RETURN, custom_data.FIRES
    sums = [vlm_return, fires, *beside]
    for key, each in beside.items():
        data[key] = data.get(key, 0.0) + float(each.sum())
    data[vlm_return] = data.get(vlm_return, 0.0) + float(paid.sum())
    data[fires] = data.get(fires, 0) + int((paid > 0).sum())
    if chunk.is_done:
        _log_episode(metrics, (), data, threshold)
        if chunk.agent_id is not None:
            _log_episode(metrics, (names.AGENTS, str(chunk.agent_id)), data, threshold)
    elif successor is not None:
        successor.custom_data.update({key: data[key] for key in sums})


def outcomes_of(samples: Sequence[SingleAgentEpisode]) -> list[tuple[bool | None, bool]]:
    """Return (success, fired) for each episode that ended.

    ``success`` is None if the env has no ground truth. ``fired`` is whether any step had a VLM
    reward above 0.
    """
    ended = (chunk.custom_data for chunk in samples if len(chunk) and chunk.is_done)
    return [(data.get(custom_data.SUCCESS), data[custom_data.FIRES] > 0) for data in ended]


def log_scores(metrics: MetricsLogger, scores: Sequence[float] | npt.NDArray[np.float32]) -> None:
    """Log the mean, minimum, maximum and number of the scores of a fragment's frames."""
    if not len(scores):
        return
    values = np.asarray(scores, np.float64)
    _log(metrics, (names.SCORE_MEAN,), float(values.mean()), window=WINDOW)
    _log(metrics, (names.SCORE_MIN,), float(values.min()), reduce="min", window=WINDOW)
    _log(metrics, (names.SCORE_MAX,), float(values.max()), reduce="max", window=WINDOW)
    _log(metrics, (names.FRAMES,), len(values), reduce="lifetime_sum", with_throughput=True)


def _log_episode(
    metrics: MetricsLogger, group: tuple[str, ...], data: dict[str, Any], threshold: float | None
) -> None:
    vlm_return, env_return = data[custom_data.VLM_RETURN], data[custom_data.ENV_RETURN]
    values = {
        names.VLM_RETURN: vlm_return,
        names.GROUND_TRUTH_RETURN: env_return,
        names.RETURN_GAP: vlm_return - env_return,
    }
    for key, name in _BESIDE.items():
        if key in data:
            values[name] = data[key]
    if threshold is not None:
        values[names.FIRES_PER_EPISODE] = data[custom_data.FIRES]
    if custom_data.SUCCESS in data:
        values[names.GROUND_TRUTH_SUCCESS] = float(data[custom_data.SUCCESS])
    for name, value in values.items():
        _log(metrics, (*group, name), value, window=WINDOW)


def _log(metrics: MetricsLogger, key: tuple[str, ...], value: float, **options: Any) -> None:
    metrics.log_value((names.GROUP, *key), value, **options)
