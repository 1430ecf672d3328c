"""Train RLlib agents from language goals: CLIP rewards served by Ray actors."""

import importlib
from typing import TYPE_CHECKING, Any

from rllib_vlm_reward.envs.registration import register_envs

if TYPE_CHECKING:
    from rllib_vlm_reward.config import (
        BonusConfig,
        FrameConfig,
        GoalConfig,
        HintsConfig,
        ServingConfig,
        VLMRewardConfig,
    )
    from rllib_vlm_reward.connectors.callbacks import callbacks_of
    from rllib_vlm_reward.curriculum import Curriculum, CurriculumConfig, Proposer
    from rllib_vlm_reward.envs.babyai.tiles import draw_tiles
    from rllib_vlm_reward.envs.captions import Box, Captions, Statements
    from rllib_vlm_reward.errors import (
        AlarmError,
        CheckpointError,
        ConfigError,
        FrameError,
        GoalError,
        LabelError,
        PoolError,
        RewardError,
    )
    from rllib_vlm_reward.evaluation.collect import collect
    from rllib_vlm_reward.evaluation.evaluate import evaluate
    from rllib_vlm_reward.goals import Goal, GoalSet, Template
    from rllib_vlm_reward.plugin import add_vlm_reward
    from rllib_vlm_reward.policies import (
        GoalConditionedModule,
        GoalConditionedQModule,
        GoalConditionedSACModule,
    )
    from rllib_vlm_reward.reward_model.clip import CLIPEncoder
    from rllib_vlm_reward.reward_model.encoder import Encoder, load_encoder
    from rllib_vlm_reward.reward_model.heads import Head
    from rllib_vlm_reward.reward_model.model import RewardModel
    from rllib_vlm_reward.reward_model.scorer import Scorer
    from rllib_vlm_reward.run import Agent, Experiment, train
    from rllib_vlm_reward.serving import RewardPool
    from rllib_vlm_reward.sweep import search
    from rllib_vlm_reward.sweep.resources import rewarded, trial_resources

__version__ = "0.1.0"

# The module of each public name, which is imported at the name's first use.
_MODULES = {
    "BonusConfig": "config",
    "FrameConfig": "config",
    "GoalConfig": "config",
    "HintsConfig": "config",
    "ServingConfig": "config",
    "VLMRewardConfig": "config",
    "callbacks_of": "connectors.callbacks",
    "Curriculum": "curriculum",
    "CurriculumConfig": "curriculum",
    "Proposer": "curriculum",
    "draw_tiles": "envs.babyai.tiles",
    "Box": "envs.captions",
    "Captions": "envs.captions",
    "Statements": "envs.captions",
    "AlarmError": "errors",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "FrameError": "errors",
    "GoalError": "errors",
    "LabelError": "errors",
    "PoolError": "errors",
    "RewardError": "errors",
    "collect": "evaluation.collect",
    "evaluate": "evaluation.evaluate",
    "Goal": "goals",
    "GoalSet": "goals",
    "Template": "goals",
    "add_vlm_reward": "plugin",
    "GoalConditionedModule": "policies",
    "GoalConditionedQModule": "policies",
    "GoalConditionedSACModule": "policies",
    "CLIPEncoder": "reward_model.clip",
    "Encoder": "reward_model.encoder",
    "load_encoder": "reward_model.encoder",
    "Head": "reward_model.heads",
    "RewardModel": "reward_model.model",
    "Scorer": "reward_model.scorer",
    "Agent": "run",
    "Experiment": "run",
    "train": "run",
    "RewardPool": "serving",
    "search": "sweep",
    "rewarded": "sweep.resources",
    "trial_resources": "sweep.resources",
}

__all__ = [
    "Agent",
    "AlarmError",
    "BonusConfig",
    "Box",
    "CLIPEncoder",
    "Captions",
    "CheckpointError",
    "ConfigError",
    "Curriculum",
    "CurriculumConfig",
    "Encoder",
    "Experiment",
    "FrameConfig",
    "FrameError",
    "Goal",
    "GoalConditionedModule",
    "GoalConditionedQModule",
    "GoalConditionedSACModule",
    "GoalConfig",
    "GoalError",
    "GoalSet",
    "Head",
    "HintsConfig",
    "LabelError",
    "PoolError",
    "Proposer",
    "RewardError",
    "RewardModel",
    "RewardPool",
    "Scorer",
    "ServingConfig",
    "Statements",
    "Template",
    "VLMRewardConfig",
    "add_vlm_reward",
    "callbacks_of",
    "collect",
    "draw_tiles",
    "evaluate",
    "load_encoder",
    "rewarded",
    "search",
    "train",
    "trial_resources",
]

register_envs()


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that the envs need neither torch nor Ray."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
