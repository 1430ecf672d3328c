"""Policies that are told their goal in words."""

from rllib_vlm_reward.policies.goal_conditioned import GoalConditionedModule

__all__ = ["GoalConditionedModule"]
