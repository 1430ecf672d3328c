"""Language goals: their texts, the prompts that CLIP reads, and their negatives."""

from rllib_vlm_reward.goals.goal_set import CURRICULUM_FIELDS, Goal, GoalSet, expand_goals
from rllib_vlm_reward.goals.grammar import Grammar, HeldOut, Split
from rllib_vlm_reward.goals.hint_set import Hint, HintSet
from rllib_vlm_reward.goals.template import Template
from rllib_vlm_reward.goals.wordings import wordings

__all__ = [
    "CURRICULUM_FIELDS",
    "Goal",
    "GoalSet",
    "Grammar",
    "HeldOut",
    "Hint",
    "HintSet",
    "Split",
    "Template",
    "expand_goals",
    "wordings",
]
