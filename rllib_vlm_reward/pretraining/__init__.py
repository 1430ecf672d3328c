"""Trains the embedded CLIPs on frames whose true statements are known."""

from rllib_vlm_reward.pretraining.training import Progress, Settings, train_clip

__all__ = ["Progress", "Settings", "train_clip"]
