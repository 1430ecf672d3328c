"""Goals in words: what an agent is asked for, what CLIP reads, and what that is weighed against."""

from rllib_vlm_reward.goals.goal_set import CURRICULUM_FIELDS, Goal, GoalSet, expand_goals
from rllib_vlm_reward.goals.grammar import Grammar, HeldOut, Split
from rllib_vlm_reward.goals.template import Template

__all__ = [
    "CURRICULUM_FIELDS",
    "Goal",
    "GoalSet",
    "Grammar",
    "HeldOut",
    "Split",
    "Template",
    "expand_goals",
]
