"""The names of all metrics of a training, and functions that send whole items among the metrics.

RLlib puts the metrics of env runners into ``result["env_runners"]``. There the reward's metrics
are in the group :data:`GROUP`, and those of one agent in ``GROUP/agents/AGENT``. TensorBoard makes
about a hundred cards from a result, sorted by name. So the most important figures, :data:`FIRST`,
are also in the group :data:`FIRST_GROUP` of the result: capital letters sort before RLlib's names.
"""

from collections.abc import Mapping
from typing import Any

from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

__all__ = ["add_first_group", "log_item", "pick_first", "reward_metrics", "take_items"]

# The keys of RLlib's result.
ENV_RUNNERS, EVALUATION = "env_runners", "evaluation"
GROUP = "vlm_reward"
AGENTS = "agents"

# Over the episodes that ended in an iteration, of each env runner at most the last 100.
VLM_RETURN = "vlm_return_mean"
BONUS_RETURN = "bonus_return_mean"
HINT_RETURN = "hint_return_mean"
GROUND_TRUTH_RETURN = "ground_truth_return_mean"
GROUND_TRUTH_SUCCESS = "ground_truth_success"
RETURN_GAP = "return_gap"
FIRES_PER_EPISODE = "fires_per_episode"

# Over the scored frames.
SCORE_MEAN, SCORE_MIN, SCORE_MAX = "score_mean", "score_min", "score_max"
FRAMES = "frames"

# Of the experts: how far apart their scores are, and of each, in EXPERTS/NAME.
DISAGREEMENT = "disagreement"
EXPERTS = "experts"
ANSWERED = "answered"

# Computed from the score statistics of the last iterations.
SCORE_AUROC = "score_auroc"
FIRES_SHARE = "fires_share"
PRECISION, RECALL = "precision", "recall"
FALSE_POSITIVES = "false_positives_per_episode"
ALARM = "alarm"  # a group: 1 for each kind of alarm that is on, else 0
ALARMS = "alarms"  # the number of kinds that are on; in JSON their names

# With `goal_code`, a group: perplexity, dead_codes, alike_goals.
GOAL_CODE = "goal_code"

# With `hints`, a group for each hint: FIRES_PER_EPISODE, and the share of the episodes in whose
# first frame it holds.
HINTS = "hints"
HELD_AT_RESET = "held_at_reset"

# With `hindsight`, a group: of each episode, how many other goals it reached, and how many copies
# of it were made; and how many different goals were reached like this so far.
HINDSIGHT = "hindsight"
GOALS_BY_CHANCE = "goals_by_chance"
COPIES_PER_EPISODE = "copies_per_episode"
GOALS_REACHED = "goals_reached"

# Metrics of a run.
ENV_STEPS_PER_SECOND = "env_steps_per_second"
EPISODE_PICTURE, HIGHEST_SCORES = "episode", "highest_scores"

FIRST_GROUP = "VLM_reward"
FIRST_OF_EVALUATION = "VLM_reward_evaluation"
FIRST_OF_AGENTS = "VLM_reward_agents"
SCORES = "VLM_reward_scores"  # histograms
FIRST = (
    VLM_RETURN,
    GROUND_TRUTH_RETURN,
    GROUND_TRUTH_SUCCESS,
    FALSE_POSITIVES,
    PRECISION,
    RECALL,
    SCORE_AUROC,
    ALARMS,
)
"""Together with the cards that a run adds, these are the twelve on TensorBoard's first page."""

# Items, which are removed from the result before a logger reads it.
OUTCOMES, STATISTICS, HIGHLIGHTS = "outcomes", "score_statistics", "highlights"
FRAME_STATISTICS = "frame_statistics"
EXPERT_ANSWERS = "expert_answers"
HINT_EPISODES = "hint_episodes"

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


def pick_first(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that TensorBoard shows first.

    Example:
        >>> pick_first({"frames": 7, "precision": 0.5})
        {'precision': 0.5}
    """
    return {name: metrics[name] for name in FIRST if name in metrics}


def add_first_group(result: dict[str, Any]) -> None:
    """Add to an iteration's result the groups that TensorBoard shows first.

    Example:
        >>> result = {"env_runners": {"vlm_reward": {"frames": 7, "precision": 0.5}}}
        >>> add_first_group(result)
        >>> result["VLM_reward"]
        {'precision': 0.5}
    """
    metrics = reward_metrics(result)
    groups = {
        FIRST_GROUP: pick_first(metrics),
        FIRST_OF_AGENTS: {a: pick_first(m) for a, m in metrics.get(AGENTS, {}).items()},
        FIRST_OF_EVALUATION: pick_first(reward_metrics(result.get(EVALUATION, {}))),
    }
    result.update({name: group for name, group in groups.items() if group})
