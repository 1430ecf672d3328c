"""Registers the envs with gymnasium when the package is imported."""

import gymnasium as gym

__all__ = ["register_envs"]


def register_envs() -> None:
    """Register BabyAI's levels, Rooms, House, HouseRoom and Android under ``rllib_vlm_reward/``.

    The entry points are import paths, so an env is imported only when it is created. House and
    HouseRoom need the extra ``[house]``, Android the extra ``[android]``.

    Example:
        >>> "rllib_vlm_reward/Find-v0" in gym.registry
        True
    """
    for level in ("Find", "Lift", "Place", "Playroom", "BabyAI"):
        gym.register(
            id=f"rllib_vlm_reward/{level}-v0",
            entry_point=f"rllib_vlm_reward.envs.babyai.env:make_{level.lower()}",
        )
    gym.register(
        id="rllib_vlm_reward/Rooms-v0",
        entry_point="rllib_vlm_reward.envs.babyai.rooms:make_rooms",
    )
    gym.register(
        id="rllib_vlm_reward/Android-v0",
        entry_point="rllib_vlm_reward.envs.android.env:Android",
    )
    for name, maker in {"House": "make_house", "HouseRoom": "make_house_room"}.items():
        gym.register(
            id=f"rllib_vlm_reward/{name}-v0",
            entry_point=f"rllib_vlm_reward.envs.house.env:{maker}",
        )
