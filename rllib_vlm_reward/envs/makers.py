"""Makers of the registered envs; each keyword may stand in RLlib's ``env_config``."""

from typing import Any

import gymnasium as gym

from rllib_vlm_reward.envs.babyai import BabyAI
from rllib_vlm_reward.envs.level import Find, Level, Lift, Place, Playroom

__all__ = ["make_babyai", "make_find", "make_lift", "make_place", "make_playroom"]


def make_find(**kwargs: Any) -> BabyAI:
    """Make ``rllib_vlm_reward/Find-v0``: face the named object.

    Keywords are those of :class:`~rllib_vlm_reward.envs.level.Level` and
    :class:`~rllib_vlm_reward.envs.babyai.BabyAI`, here and below.

    Example:
        >>> make_find(num_objects=4).action_space
        Discrete(3)
    """
    return _make(Find, **kwargs)


def make_lift(**kwargs: Any) -> BabyAI:
    """Make ``rllib_vlm_reward/Lift-v0``: pick up the named object and no other.

    Example:
        >>> make_lift(colors=("red", "blue"), max_steps=20).action_space
        Discrete(4)
    """
    return _make(Lift, **kwargs)


def make_place(**kwargs: Any) -> BabyAI:
    """Make ``rllib_vlm_reward/Place-v0``: put one named object next to another.

    Example:
        >>> make_place(room_size=7).action_space
        Discrete(5)
    """
    return _make(Place, **kwargs)


def make_playroom(**kwargs: Any) -> BabyAI:
    """Make ``rllib_vlm_reward/Playroom-v0``: find, lift or place, as the mission says.

    Example:
        >>> env = make_playroom(families=("find", "lift"))
        >>> env.reset(seed=0, options={"goal": "go to a red ball"})[1]["goal"]
        'go to a red ball'
    """
    return _make(Playroom, **kwargs)


def make_babyai(
    level: str,
    *,
    tile_size: int = 8,
    end_on_success: bool = True,
    render_mode: str | None = "rgb_array",
    **kwargs: Any,
) -> BabyAI:
    """Make ``rllib_vlm_reward/BabyAI-v0``: one of BabyAI's own levels by its gymnasium id.

    Example:
        >>> env = make_babyai("BabyAI-PickupLoc-v0")
        >>> env.reset(seed=0)[1]["goal"]
        'pick up the grey key'
    """
    # disable_env_checker: the checker warns of BabyAI's mission space at every reset.
    env = gym.make(level, disable_env_checker=True, render_mode=render_mode, **kwargs)
    return BabyAI(env, tile_size=tile_size, end_on_success=end_on_success)


def _make(
    level: type[Level],
    *,
    tile_size: int = 8,
    end_on_success: bool = True,
    render_mode: str | None = "rgb_array",
    **kwargs: Any,
) -> BabyAI:
    env = level(render_mode=render_mode, **kwargs)
    return BabyAI(env, tile_size=tile_size, end_on_success=end_on_success)
