"""Items that env runners send the algorithm among their metrics: whole, each once."""

from typing import Any

from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

__all__ = ["log_item", "take_items"]

_ROOM = "vlm_reward"


def log_item(metrics: MetricsLogger, name: str, item: tuple[Any, ...]) -> None:
    """Log an item.

    It travels with the samples that it is of: an env runner that dies takes both with it.
    """
    metrics.log_value((_ROOM, name), item, reduce="item_series")


def take_items(result: dict[str, Any], name: str) -> list[tuple[Any, ...]]:
    """Take an iteration's items of this name out of its result, so that no logger writes them.

    Example:
        >>> result = {"env_runners": {"vlm_reward": {"outcomes": (1, 2), "frames": 7}}}
        >>> take_items(result, "outcomes"), result
        ([(1, 2)], {'env_runners': {'vlm_reward': {'frames': 7}}})
    """
    items = result.get("env_runners", {}).get(_ROOM, {}).pop(name, [])
    # RLlib 2.60 takes a list of one for a mean, and unpacks it.
    return items if isinstance(items, list) else [items]
