"""The names of all metrics, and how whole items travel among them.

RLlib puts what env runners log under ``result["env_runners"]``; the reward's metrics are in its
group :data:`GROUP` there, those of one agent in ``GROUP/agents/AGENT``.
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

# Of the scored frames.
SCORE_MEAN, SCORE_MIN, SCORE_MAX = "score_mean", "score_min", "score_max"
FRAMES = "frames"

# What the score statistics of the last iterations come to.
SCORE_AUROC = "score_auroc"
FIRES_SHARE = "fires_share"
PRECISION, RECALL = "precision", "recall"
FALSE_POSITIVES = "false_positives_per_episode"
ALARM = "alarm"  # a group: 1 for each kind that holds, else 0

# Items: they leave the result before a logger sees them.
OUTCOMES, STATISTICS, HIGHLIGHTS = "outcomes", "score_statistics", "highlights"

# At the top of RLlib's result.
CURRICULUM = "curriculum"


def log_item(metrics: MetricsLogger, name: str, item: tuple[Any, ...]) -> None:
    """Log an item, which reaches the algorithm whole and once.

    It travels with the samples that it describes: an env runner that dies takes both with it.
    """
    metrics.log_value((GROUP, name), item, reduce="item_series")


def take_items(result: dict[str, Any], name: str) -> list[tuple[Any, ...]]:
    """Take an iteration's items of this name out of its result, so that no logger writes them.

    Example:
        >>> result = {"env_runners": {"vlm_reward": {"outcomes": (1, 2), "frames": 7}}}
        >>> take_items(result, "outcomes"), result
        ([(1, 2)], {'env_runners': {'vlm_reward': {'frames': 7}}})
    """
    items = reward_metrics(result).pop(name, [])
    # RLlib 2.60 takes a list of one for a mean, and unpacks it.
    return items if isinstance(items, list) else [items]


def reward_metrics(result: dict[str, Any]) -> dict[str, Any]:
    """Return the reward's metrics in a result; they are empty where nothing was sampled.

    Example:
        >>> reward_metrics({"env_runners": {"vlm_reward": {"frames": 7}}}), reward_metrics({})
        ({'frames': 7}, {})
    """
    metrics: dict[str, Any] = result.get(ENV_RUNNERS, {}).get(GROUP, {})
    return metrics
