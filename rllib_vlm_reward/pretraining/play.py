"""Views from play in BabyAI rooms: the raw material of the embedded CLIPs."""

import contextlib
import io
from collections.abc import Iterator, Sequence

import numpy as np
from minigrid.core.actions import Actions
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.level import Find, Level, Lift, Place
from rllib_vlm_reward.envs.babyai.tiles import View

__all__ = ["play"]

ROOMS = ((5, 2), (5, 3), (5, 4), (6, 3), (6, 4), (6, 6), (7, 4), (7, 6), (8, 5), (8, 8))
"""Rooms to play in: their size and how many objects they hold."""

STEPS = 20
BOT_SHARE = 0.2
PICK_UP, DROP, TURN = 0.25, 0.2, 0.3


def play(
    num_frames: int, *, seed: int = 0, held_out: bool = False, reserved: Sequence[str] = ()
) -> View:
    """Play Find, Lift and Place in rooms of several sizes and return what the agent saw.

    Most episodes are random play that picks up and drops often; in the others BabyAI's bot
    solves the mission. Nothing ends an episode but its 20 steps.

    Args:
        num_frames: N.
        seed: of layouts and play.
        held_out: play in layouts that no other call with ``held_out=False`` sees: layouts are
            seeded, training with even numbers and held-out play with odd ones.
        reserved: things, as "green ball", that lie in no room.

    Returns:
        uint8 ``[N, 7, 7, 3]``, as :func:`~rllib_vlm_reward.envs.babyai.tiles.draw` takes them.

    Example:
        >>> play(64).shape
        (64, 7, 7, 3)
    """
    rng = np.random.default_rng((seed, held_out))
    levels = [
        kind(room_size=size, num_objects=number, reserved=reserved)
        for kind in (Find, Lift, Place)
        for size, number in ROOMS
    ]
    views = np.empty((num_frames, 7, 7, 3), np.uint8)
    seen = 0
    while seen < num_frames:
        level = levels[rng.integers(len(levels))]
        layout = 2 * int(rng.integers(2**30)) + held_out
        for view in _episode(level, layout, rng):
            if seen == num_frames:
                break
            views[seen] = view
            seen += 1
    return views


def _episode(level: Level, layout: int, rng: np.random.Generator) -> Iterator[View]:
    # BabyAI prints each layout that it rejects.
    with contextlib.redirect_stdout(io.StringIO()):
        observation, _ = level.reset(seed=layout)
    yield observation["image"]
    bot = BabyAIBot(level) if rng.random() < BOT_SHARE else None
    for _ in range(STEPS):
        action = _wander(level, rng) if bot is None else bot.replan()
        observation, _, terminated, _, _ = level.step(action)
        yield observation["image"]
        if terminated and bot is not None:
            bot = None  # Mission accomplished: play on at random.


def _wander(level: Level, rng: np.random.Generator) -> int:
    ahead = level.grid.get(*level.front_pos)
    if level.carrying is not None:
        if ahead is None and rng.random() < DROP:
            return int(Actions.drop)
    elif ahead is not None and ahead.can_pickup() and rng.random() < PICK_UP:
        return int(Actions.pickup)
    if rng.random() < TURN or (ahead is not None):
        return int(rng.choice((Actions.left, Actions.right)))
    return int(Actions.forward)
