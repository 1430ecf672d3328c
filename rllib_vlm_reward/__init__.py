"""Train RLlib agents from language goals: CLIP rewards served by Ray actors."""

import importlib
from typing import TYPE_CHECKING, Any

from rllib_vlm_reward.envs.registration import register_envs

if TYPE_CHECKING:
    from rllib_vlm_reward.config import VLMRewardConfig
    from rllib_vlm_reward.curriculum import Curriculum, CurriculumConfig
    from rllib_vlm_reward.errors import (
        CheckpointError,
        ConfigError,
        FrameError,
        GoalError,
        PoolError,
        RewardError,
    )
    from rllib_vlm_reward.goals import Goal, GoalSet, Template
    from rllib_vlm_reward.plugin import add_vlm_reward
    from rllib_vlm_reward.policies import (
        GoalConditionedModule,
        GoalConditionedQModule,
        GoalConditionedSACModule,
    )
    from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
    from rllib_vlm_reward.reward_model.model import RewardModel
    from rllib_vlm_reward.reward_model.scorer import Scorer
    from rllib_vlm_reward.run import Experiment, train
    from rllib_vlm_reward.serving import RewardPool
    from rllib_vlm_reward.sweep.resources import rewarded, trial_resources

__all__ = [
    "CLIPEncoder",
    "CheckpointError",
    "ConfigError",
    "Curriculum",
    "CurriculumConfig",
    "Experiment",
    "FrameError",
    "Goal",
    "GoalConditionedModule",
    "GoalConditionedQModule",
    "GoalConditionedSACModule",
    "GoalError",
    "GoalSet",
    "PoolError",
    "RewardError",
    "RewardModel",
    "RewardPool",
    "Scorer",
    "Template",
    "VLMRewardConfig",
    "add_vlm_reward",
    "rewarded",
    "train",
    "trial_resources",
]

register_envs()

_ERRORS = {name for name in __all__ if name.endswith("Error")}
_HOMES = {
    "config": {"VLMRewardConfig"},
    "curriculum": {"Curriculum", "CurriculumConfig"},
    "errors": _ERRORS,
    "goals": {"Goal", "GoalSet", "Template"},
    "plugin": {"add_vlm_reward"},
    "policies": {
        "GoalConditionedModule",
        "GoalConditionedQModule",
        "GoalConditionedSACModule",
    },
    "reward_model.encoder": {"CLIPEncoder"},
    "reward_model.model": {"RewardModel"},
    "reward_model.scorer": {"Scorer"},
    "run": {"Experiment", "train"},
    "serving": {"RewardPool"},
    "sweep.resources": {"rewarded", "trial_resources"},
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for; an env needs neither torch nor Ray."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
