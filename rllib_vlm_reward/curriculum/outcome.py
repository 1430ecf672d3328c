"""What one episode of training brought."""

from typing import NamedTuple

__all__ = ["Outcome"]


class Outcome(NamedTuple):
    """How an episode ended, by the VLM and by ground truth.

    Attributes:
        goal: the goal's index in the training goals.
        vlm_return: sum of the VLM's rewards.
        vlm_success: whether the VLM saw the goal reached; None without a threshold.
        ground_truth_return: sum of the env's own rewards.
        ground_truth_success: what the env says; None where it is mute.
    """

    goal: int
    vlm_return: float
    vlm_success: bool | None
    ground_truth_return: float
    ground_truth_success: bool | None
