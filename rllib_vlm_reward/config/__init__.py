"""The settings of a run's reward: typed, frozen and validated, with the same keys in YAML.

* :mod:`reward_config`: all settings together;
* :mod:`goal_config`, :mod:`frame_config`, :mod:`bonus_config`, :mod:`hints_config`,
  :mod:`serving_config`: the groups of keys;
* :mod:`reward_file`: reads them from a YAML file;
* :mod:`calibration`: a threshold that was chosen for a reward;
* :mod:`scope`: which keys may differ between agents, and which keys affect rewards.
"""

from rllib_vlm_reward.config.bonus_config import BonusConfig, position
from rllib_vlm_reward.config.calibration import Calibration, Estimate, Target, TrustCalibration
from rllib_vlm_reward.config.frame_config import FrameConfig
from rllib_vlm_reward.config.goal_config import GoalConfig, GoalFile, TemplateConfig
from rllib_vlm_reward.config.hints_config import HintConfig, HintsConfig
from rllib_vlm_reward.config.reward_config import VLMRewardConfig
from rllib_vlm_reward.config.reward_file import check_reward, read_config
from rllib_vlm_reward.config.serving_config import ServingConfig

__all__ = [
    "BonusConfig",
    "Calibration",
    "Estimate",
    "FrameConfig",
    "GoalConfig",
    "GoalFile",
    "HintConfig",
    "HintsConfig",
    "ServingConfig",
    "Target",
    "TemplateConfig",
    "TrustCalibration",
    "VLMRewardConfig",
    "check_reward",
    "position",
    "read_config",
]
