"""Registers the envs with gymnasium when the package is imported."""

import gymnasium as gym

__all__ = ["register_envs"]


def register_envs() -> None:
    """Register Find, Lift, Place, Playroom and BabyAI under ``rllib_vlm_reward/``.

    The entry points are import paths, so an env is imported only when it is created.

    Example:
        >>> "rllib_vlm_reward/Find-v0" in gym.registry
        True
    """
    for level in ("Find", "Lift", "Place", "Playroom", "BabyAI"):
        gym.register(
            id=f"rllib_vlm_reward/{level}-v0",
            entry_point=f"rllib_vlm_reward.envs.babyai.env:make_{level.lower()}",
        )
