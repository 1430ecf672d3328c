"""Readouts say of a frame what else it shows, beside the score of the head.

Each readout has its own file. Importing one does not import torch.
"""

from rllib_vlm_reward.reward_model.readouts.base import PatchReadout, Readout, ScoreReadout
from rllib_vlm_reward.reward_model.readouts.focal import Focal
from rllib_vlm_reward.reward_model.readouts.goal_map import GoalMap
from rllib_vlm_reward.reward_model.readouts.hint_scores import HintScores
from rllib_vlm_reward.reward_model.readouts.holds import Holds

__all__ = ["Focal", "GoalMap", "HintScores", "Holds", "PatchReadout", "Readout", "ScoreReadout"]
