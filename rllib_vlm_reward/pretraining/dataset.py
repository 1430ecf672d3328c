"""The training set: the distinct views of play in BabyAI rooms, with weights for drawing them."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from minigrid.core.actions import Actions
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.level import Find, Level, Lift, Place
from rllib_vlm_reward.envs.babyai.tiles import View
from rllib_vlm_reward.pretraining.statements import Truth, truth

__all__ = ["EPISODE_VIEWS", "Dataset", "play"]

ROOMS = ((5, 2), (5, 3), (5, 4), (6, 3), (6, 4), (6, 6), (7, 4), (7, 6), (8, 5), (8, 8))
"""Rooms to play in: size in tiles, and number of objects."""

STEPS = 20
EPISODE_VIEWS = STEPS + 1
"""Number of views of an episode of :func:`play`: one after the reset, and one after each step."""

BOT_SHARE = 0.2
PICK_UP, DROP, TURN = 0.25, 0.2, 0.3


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Views, and which statements hold in each.

    Attributes:
        views: distinct views, uint8 ``[N, 7, 7, 3]``.
        holds: see :data:`~rllib_vlm_reward.pretraining.statements.Truth`.
        weights: probability of drawing each view, float64 ``[N]``; they sum to 1.

    Example:
        >>> data = Dataset.from_play(200)
        >>> views, holds = data.sample(8, np.random.default_rng(0))
        >>> views.shape, holds["lift"].shape
        ((8, 7, 7, 3), (8, 19))
    """

    views: View
    holds: Truth
    weights: npt.NDArray[np.float64]

    @classmethod
    def from_play(
        cls, num_frames: int, *, seed: int = 0, reserved: Sequence[str] = ()
    ) -> "Dataset":
        """Play ``num_frames`` frames, and keep every distinct view once (about two thirds)."""
        played = play(num_frames, seed=seed, reserved=reserved)
        views = played[np.sort(np.unique(_whole(played), return_index=True)[1])]
        holds = truth(views)
        return cls(views, holds, _balance(holds))

    def sample(self, size: int, rng: np.random.Generator) -> tuple[View, Truth]:
        """Draw views by their weights, with replacement."""
        rows = rng.choice(len(self.views), size, p=self.weights)
        return self.views[rows], {family: held[rows] for family, held in self.holds.items()}

    def share_of(self, views: View) -> float:
        """Return the share of the given views that also occur, exactly, in this dataset."""
        return float(np.isin(_whole(views), _whole(self.views)).mean())


def _whole(views: View) -> npt.NDArray[np.void]:
    """Return each view as one value, void ``[N]``."""
    flat = np.ascontiguousarray(views).reshape(len(views), -1)
    return flat.view(np.dtype((np.void, flat.shape[1])))[:, 0]


def _balance(holds: Truth) -> npt.NDArray[np.float64]:
    """Weight each view by its rarest statements, since in most views "nothing" holds.

    A statement that holds in n views has the weight 1/√n. On a log scale that is half way between
    the shares in the frames and equal shares for all statements.
    """
    weights = np.zeros(len(next(iter(holds.values()))))
    for held in holds.values():
        rarity = held.sum(axis=0).clip(min=1) ** -0.5
        weights += (held * (rarity / rarity.mean())).max(axis=1)
    normalised: npt.NDArray[np.float64] = weights / weights.sum()
    return normalised


def play(
    num_frames: int, *, seed: int = 0, held_out: bool = False, reserved: Sequence[str] = ()
) -> View:
    """Play Find, Lift and Place in rooms of several sizes, and return the agent's views.

    Most episodes are random play that picks up and drops often; in the others BabyAI's bot
    solves the mission. Every episode has 20 steps, even if the mission is accomplished before.

    Args:
        num_frames: number of views, N.
        seed: seed of layouts and play.
        held_out: play in layouts that no call with ``held_out=False`` uses: training layouts have
            even seeds, held-out layouts odd ones.
        reserved: things that no room contains, such as "green ball".

    Returns:
        the views, uint8 ``[N, 7, 7, 3]``, :data:`EPISODE_VIEWS` for each episode, in order;
        :func:`.draw_tiles` draws them.

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
    filled = 0
    while filled < num_frames:
        level = levels[rng.integers(len(levels))]
        layout = 2 * int(rng.integers(2**30)) + held_out
        for view in _episode(level, layout, rng):
            if filled == num_frames:
                break
            views[filled] = view
            filled += 1
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
            bot = None  # the mission is accomplished; play on at random


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
