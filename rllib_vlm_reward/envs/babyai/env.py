"""The BabyAI env: frames as observations, a mission as the goal, and ground truth.

The ``make_`` functions are the entry points of the ids that are registered with gymnasium. You can
set each of their keyword arguments in RLlib's ``env_config``.
"""

import contextlib
import io
from typing import Any

import gymnasium as gym
import numpy as np
from minigrid.core.actions import Actions
from minigrid.envs.babyai.core.verifier import GoToInstr, PickupInstr

from rllib_vlm_reward.envs.babyai.captions import TEMPLATES, boxes, captions
from rllib_vlm_reward.envs.babyai.expert import Expert
from rllib_vlm_reward.envs.babyai.ground_truth import accomplished, steps_to_go
from rllib_vlm_reward.envs.babyai.level import Find, Level, Lift, Place, Playroom
from rllib_vlm_reward.envs.babyai.tiles import View, draw_tiles
from rllib_vlm_reward.envs.captions import Box, Captions
from rllib_vlm_reward.frames import Frames

__all__ = [
    "BabyAI",
    "make_babyai",
    "make_find",
    "make_lift",
    "make_place",
    "make_playroom",
]

Result = tuple[Frames, dict[str, Any]]


class BabyAI(gym.Wrapper):  # type: ignore[type-arg]
    """A BabyAI level whose observation is its egocentric frame, with the mission as the goal.

    The observation and ``render()`` are the frame of
    :func:`~rllib_vlm_reward.envs.babyai.tiles.draw_tiles`, uint8 ``[H, W, 3]``. At reset and at
    every step, ``info["goal"]`` is the mission, and ``info["success"]`` is the ground truth of
    :func:`~rllib_vlm_reward.envs.babyai.ground_truth.accomplished`. The reward is that of the
    level. The action space has only the actions that the mission needs: turn left, turn right and
    move forward in Find (3 actions), also pick up in Lift (4), also drop in Place (5). Playroom
    always has 5.

    Args:
        env: a BabyAI level with one go-to, pick-up or put-next instruction, created with
            ``render_mode="rgb_array"``.
        tile_size: side of a tile in pixels; the view has 7 × 7 tiles.
        end_on_success: whether ground-truth success ends the episode, as in BabyAI. If False, only
            the time limit and the reward's ``early_end`` end it, as in the paper.

    Example:
        >>> env = gym.make("rllib_vlm_reward/Lift-v0", room_size=5, num_objects=2)
        >>> frame, info = env.reset(seed=1)
        >>> frame.shape, frame.dtype, info["success"]
        ((56, 56, 3), dtype('uint8'), False)
        >>> info["goal"].startswith("pick up the")
        True
    """

    templates = TEMPLATES
    agent_position = (0.5, 6.5 / 7)  # in the frame: the middle of the lowest row of tiles

    def __init__(
        self, env: gym.Env[Any, Any], *, tile_size: int = 8, end_on_success: bool = True
    ) -> None:
        super().__init__(env)
        self.tile_size = tile_size
        self.end_on_success = end_on_success
        with contextlib.redirect_stdout(io.StringIO()):
            env.reset(seed=0)  # The actions depend on the instruction, which a reset creates.
        accomplished(self.unwrapped)  # raises if the instruction is not supported
        # Without this, all envs that are never seeded would play the same missions.
        self.unwrapped.np_random = np.random.default_rng()
        self.action_space = gym.spaces.Discrete(_num_actions(self.unwrapped))
        side = 7 * tile_size
        self.observation_space = gym.spaces.Box(0, 255, (side, side, 3), np.uint8)
        self._frame: Frames = np.zeros((side, side, 3), np.uint8)
        self._view: View = np.zeros((7, 7, 3), np.uint8)
        self._expert: Expert | None = None

    def _observe(self, observation: dict[str, Any], info: dict[str, Any]) -> Result:
        self._view = observation["image"]
        self._frame = draw_tiles(self._view, self.tile_size)
        truth = {"goal": observation["mission"], "success": accomplished(self.unwrapped)}
        return self._frame, {**info, **truth}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        """Start an episode; the mission is ``options["goal"]``, if given, else a new one."""
        # Hides BabyAI's output: it prints a line for each layout that it rejects.
        with contextlib.redirect_stdout(io.StringIO()):
            observation, info = self.env.reset(seed=seed, options=options)
        self._expert = None
        return self._observe(observation, info)

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        """Take an action; the class documents the observation and the info."""
        observation, reward, terminated, truncated, info = self.env.step(int(action))
        if self._expert is not None:
            self._expert.see(int(action))
        frame, info = self._observe(observation, info)
        if info["success"] and not self.end_on_success:
            terminated = False
        return frame, float(reward), terminated, truncated, info

    def render(self) -> Frames:  # type: ignore[override]
        """Return the frame of the last reset or step, uint8 ``[H, W, 3]``."""
        return self._frame

    def captions(self) -> Captions:
        """Return the statements about the present frame, see :func:`.captions.captions`."""
        return captions(self._view)

    def boxes(self) -> list[Box]:
        """Return where the present frame shows things, see :func:`.captions.boxes`."""
        return boxes(self._view)

    def steps_to_go(self) -> float:
        """Return the number of actions to success, see :func:`.ground_truth.steps_to_go`."""
        return steps_to_go(self.unwrapped, can_drop=Actions.drop in self.action_space)

    def expert_action(self) -> int:
        """Return the action that BabyAI's bot would take now, see :class:`.expert.Expert`.

        If the bot has no advice, the action is a random one from ``action_space``.
        """
        if self._expert is None:
            self._expert = Expert(self.unwrapped)
        advice = self._expert.advise()
        if advice is None or advice not in self.action_space:
            return int(self.action_space.sample())
        return advice


def _num_actions(level: Any) -> int:
    if isinstance(level, Playroom):
        return 5
    if isinstance(level.instrs, GoToInstr):
        return 3
    return 4 if isinstance(level.instrs, PickupInstr) else 5


def make_find(**kwargs: Any) -> BabyAI:
    """Make ``rllib_vlm_reward/Find-v0``: face the named object.

    The keyword arguments are those of :class:`~rllib_vlm_reward.envs.babyai.level.Level` and
    :class:`~rllib_vlm_reward.envs.babyai.env.BabyAI`, as for the other levels.

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
    """Make ``rllib_vlm_reward/Playroom-v0``: each mission is to find, to lift or to place.

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
    """Make ``rllib_vlm_reward/BabyAI-v0``: a level of BabyAI itself, by its gymnasium id.

    Example:
        >>> env = make_babyai("BabyAI-PickupLoc-v0")
        >>> env.reset(seed=0)[1]["goal"]
        'pick up the grey key'
    """
    # The env checker would warn about BabyAI's mission space at every reset.
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
