"""Policies that are told their goal in words."""

from rllib_vlm_reward.policies.goal_conditioned import GoalConditionedModule
from rllib_vlm_reward.policies.replayed import GoalConditionedQModule, GoalConditionedSACModule

__all__ = ["GoalConditionedModule", "GoalConditionedQModule", "GoalConditionedSACModule"]
