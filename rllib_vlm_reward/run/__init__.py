"""One training run: its YAML, its loop, its evaluation, and what it leaves in its folder."""

from rllib_vlm_reward.run.console import Display
from rllib_vlm_reward.run.experiment import Experiment
from rllib_vlm_reward.run.loop import train

__all__ = ["Display", "Experiment", "train"]
