"""The names of all metrics, and functions that send whole items among the metrics.

RLlib puts the metrics of env runners into ``result["env_runners"]``. There the reward's metrics
are in the group :data:`GROUP`, and those of one agent in ``GROUP/agents/AGENT``.
"""

from typing import Any

from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

__all__ = ["log_item", "reward_metrics", "take_items"]

# The keys of RLlib's result.
ENV_RUNNERS = "env_runners"
GROUP = "vlm_reward"
AGENTS = "agents"

# Over the last 100 episodes.
VLM_RETURN = "vlm_return_mean"
GROUND_TRUTH_RETURN = "ground_truth_return_mean"
GROUND_TRUTH_SUCCESS = "ground_truth_success"
RETURN_GAP = "return_gap"
FIRES_PER_EPISODE = "fires_per_episode"

# Over the scored frames.
SCORE_MEAN, SCORE_MIN, SCORE_MAX = "score_mean", "score_min", "score_max"
FRAMES = "frames"

# Computed from the score statistics of the last iterations.
SCORE_AUROC = "score_auroc"
FIRES_SHARE = "fires_share"
PRECISION, RECALL = "precision", "recall"
FALSE_POSITIVES = "false_positives_per_episode"
ALARM = "alarm"  # a group: 1 for each kind of alarm that is on, else 0

# Items, which are removed from the result before a logger reads it.
OUTCOMES, STATISTICS, HIGHLIGHTS = "outcomes", "score_statistics", "highlights"

# At the top of RLlib's result.
CURRICULUM = "curriculum"


def log_item(metrics: MetricsLogger, name: str, item: tuple[Any, ...]) -> None:
    """Log an item, which reaches the driver unchanged and only once.

    RLlib sends it together with the samples. If the env runner fails, both are lost.
    """
    metrics.log_value((GROUP, name), item, reduce="item_series")


def take_items(result: dict[str, Any], name: str) -> list[tuple[Any, ...]]:
    """Remove the items with this name from an iteration's result, and return them.

    Example:
        >>> result = {"env_runners": {"vlm_reward": {"outcomes": (1, 2), "frames": 7}}}
        >>> take_items(result, "outcomes"), result
        ([(1, 2)], {'env_runners': {'vlm_reward': {'frames': 7}}})
    """
    items = reward_metrics(result).pop(name, [])
    # RLlib 2.60 treats a list of one item as a mean, and unpacks it.
    return items if isinstance(items, list) else [items]


def reward_metrics(result: dict[str, Any]) -> dict[str, Any]:
    """Return the reward's metrics in a result; empty if nothing was sampled.

    Example:
        >>> reward_metrics({"env_runners": {"vlm_reward": {"frames": 7}}}), reward_metrics({})
        ({'frames': 7}, {})
    """
    metrics: dict[str, Any] = result.get(ENV_RUNNERS, {}).get(GROUP, {})
    return metrics
