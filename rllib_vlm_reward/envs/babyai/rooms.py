"""BabyAI's rooms of all sizes in one env, for the frames that a CLIP is trained on."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.envs.babyai.captions import TEMPLATES
from rllib_vlm_reward.envs.babyai.env import BabyAI, make_playroom
from rllib_vlm_reward.envs.captions import Box, Captions
from rllib_vlm_reward.frames import Frames

__all__ = ["Rooms", "make_rooms"]

Result = tuple[Frames, dict[str, Any]]

SIZES = ((5, 2), (5, 3), (5, 4), (6, 3), (6, 4), (6, 6), (7, 4), (7, 6), (8, 5), (8, 8))
"""The rooms: size in tiles, and number of objects."""


class Rooms(gym.Env[Frames, np.int64]):
    """A Playroom of another size at each reset: 5 to 8 tiles, and 2 to 8 objects.

    Frames, goals, actions and captions are those of :class:`.BabyAI`. Nothing ends an episode but
    the time limit, so that play also shows what follows a success or a wrong pickup.

    Args:
        max_steps: number of steps until truncation.
        reserved: see :class:`.Level`.
        render_mode: ``"rgb_array"``.

    Example:
        >>> env = make_rooms()
        >>> [env.reset(seed=seed)[0].shape for seed in (0, 1)]
        [(56, 56, 3), (56, 56, 3)]
        >>> env.captions().true["lift"]
        {'the agent is carrying nothing'}
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    templates = TEMPLATES
    agent_position = BabyAI.agent_position

    def __init__(
        self,
        *,
        max_steps: int = 20,
        reserved: Sequence[str] = (),
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.render_mode = render_mode
        self.max_steps = max_steps
        self._rooms: list[BabyAI] = [
            make_playroom(
                room_size=size,
                num_objects=number,
                reserved=reserved,
                max_steps=max_steps + 1,
                end_on_success=False,
                render_mode=render_mode,
            )
            for size, number in SIZES
        ]
        self._room = self._rooms[0]
        self._steps = 0
        self.action_space = self._room.action_space
        for room in self._rooms:
            room.action_space = self.action_space  # one to seed, from which experts draw
        self.observation_space = self._room.observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        """Draw a room, and start an episode in it, see :meth:`.BabyAI.reset`."""
        super().reset(seed=seed)
        self._room = self._rooms[int(self.np_random.integers(len(self._rooms)))]
        self._steps = 0
        drawn = int(self.np_random.integers(2**30))
        return self._room.reset(seed=drawn, options=options)

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        """Take an action, see :meth:`.BabyAI.step`."""
        frame, reward, _, _, info = self._room.step(action)
        self._steps += 1
        return frame, reward, False, self._steps >= self.max_steps, info

    def render(self) -> Frames:  # type: ignore[override]
        """Return the frame of the last reset or step, uint8 ``[H, W, 3]``."""
        return self._room.render()

    def captions(self) -> Captions:
        """Return the statements about the present frame, see :meth:`.BabyAI.captions`."""
        return self._room.captions()

    def boxes(self) -> list[Box]:
        """Return where the present frame shows things, see :meth:`.BabyAI.boxes`."""
        return self._room.boxes()

    def steps_to_go(self) -> float:
        """Return the number of actions to success, see :meth:`.BabyAI.steps_to_go`."""
        return self._room.steps_to_go()

    def expert_action(self) -> int:
        """Return the next action of the expert, see :meth:`.BabyAI.expert_action`."""
        return self._room.expert_action()


def make_rooms(**kwargs: Any) -> Rooms:
    """Make ``rllib_vlm_reward/Rooms-v0``; the keyword arguments are those of :class:`Rooms`."""
    return Rooms(**kwargs)
