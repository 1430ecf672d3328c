"""What an evaluation asks about the head of a reward."""

from rllib_vlm_reward.config import VLMRewardConfig

__all__ = ["gives_probabilities", "has_temperature", "needs_negatives", "read_settings"]

_PROBABILITIES = ("softmax", "sigmoid")
_OF_A_SOFTMAX = ("softmax", "dense")


def gives_probabilities(config: VLMRewardConfig) -> bool:
    """Whether a score of 0.8 claims that 80 % of such frames are a success."""
    return config.head in _PROBABILITIES


def has_temperature(config: VLMRewardConfig) -> bool:
    """Whether the head's score comes from a softmax over the goal and its negatives."""
    return config.head in _OF_A_SOFTMAX


def needs_negatives(head: str) -> bool:
    """Whether a goal without negatives has no score with this head."""
    return head in _OF_A_SOFTMAX


def read_settings(config: VLMRewardConfig) -> dict[str, float]:
    """Return the settings, beside the temperature, that the head reads.

    Example:
        >>> read_settings(VLMRewardConfig(encoder="small", goals=["a {ball|key}"]))
        {}
    """
    return {"alpha": config.alpha} if config.head == "goal_baseline" else {}
