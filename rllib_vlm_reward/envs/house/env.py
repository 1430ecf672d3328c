"""The house as a gymnasium env: frames as observations, a goal in words, and ground truth.

The ``make_`` functions are the entry points of the ids that are registered with gymnasium. You can
set each of their keyword arguments in RLlib's ``env_config``.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.envs.captions import Captions, Statements
from rllib_vlm_reward.envs.house.captions import TEMPLATES, captions
from rllib_vlm_reward.envs.house.expert import Expert
from rllib_vlm_reward.envs.house.ground_truth import accomplished
from rllib_vlm_reward.envs.house.layout import MOST_A_ROOM, draw_scene
from rllib_vlm_reward.envs.house.mission import FORMS, Mission
from rllib_vlm_reward.envs.house.renderer import Renderer
from rllib_vlm_reward.envs.house.scene import Action, Scene
from rllib_vlm_reward.envs.house.things import KINDS
from rllib_vlm_reward.frames import Frames

__all__ = ["House", "make_house", "make_house_room"]

Result = tuple[Frames, dict[str, Any]]

SIZES = (32, 512)  # of a frame's side in pixels
MOST_ROOMS = 6
_LAST = {"find": Action.FORWARD, "lift": Action.PICK_UP, "place": Action.DROP}


class House(gym.Env[Frames, np.int64]):
    """Textured rooms with things in them, seen through the agent's eyes.

    Each reset lays out the house anew: rooms, doors, textures, things, and where the agent stands.
    The observation and ``render()`` are the frame of
    :meth:`~rllib_vlm_reward.envs.house.renderer.Renderer.draw`, uint8 ``[S, S, 3]``. At reset and
    at every step, ``info["goal"]`` is the goal, and ``info["success"]`` is the ground truth of
    :func:`~rllib_vlm_reward.envs.house.ground_truth.accomplished`. The reward is 0 until success,
    which pays between 0.1 and 1, more after fewer steps. Another thing than the goal's in the
    agent's hands ends an episode of Lift as a failure.

    The action space has only the actions that the families need: turn left, turn right and walk
    forward for find (3 actions), also pick up for lift (4), also drop for place (5).

    Args:
        num_rooms: number of rooms, 1 to 6.
        num_things: number of things in the house; no two are of one kind.
        things: names of the things to draw from.
        reserved: names of things that are in the house only if the goal names them. Use it for
            things that are held out for evaluation.
        families: the families of goals to draw from, all with the same chance: find, lift, place.
        frame_size: side of the frame in pixels, 32 to 512.
        max_steps: number of steps until truncation; None takes 60 for each room.
        end_on_success: whether ground-truth success ends the episode. If False, only the time
            limit and the reward's ``early_end`` end it, as in the paper.
        render_mode: ``"rgb_array"``.

    Raises:
        ConfigError: MiniWorld is not installed, or the system has no OpenGL; the error says what to
            install.
        ValueError: an argument is out of its range.

    Attributes:
        scene: the state.
        mission: the goal of the episode.

    Example:
        >>> gym.spec("rllib_vlm_reward/House-v0").entry_point
        'rllib_vlm_reward.envs.house.env:make_house'
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012
    templates = TEMPLATES
    agent_position = (0.5, 1.0)  # in the frame: it looks out of the lower edge

    scene: Scene
    mission: Mission

    def __init__(
        self,
        *,
        num_rooms: int = 2,
        num_things: int = 7,
        things: Sequence[str] = tuple(KINDS),
        reserved: Sequence[str] = (),
        families: Sequence[str] = tuple(FORMS),
        frame_size: int = 64,
        max_steps: int | None = None,
        end_on_success: bool = True,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.num_rooms = _within("num_rooms", num_rooms, 1, MOST_ROOMS)
        self.things = _some_of("things", things, KINDS)
        self._statements = Statements(TEMPLATES, self.things)
        self.reserved = _some_of("reserved", reserved, self.things, empty=True)
        self._free = [name for name in self.things if name not in self.reserved]
        most = min(len(self._free), MOST_A_ROOM * num_rooms)
        self.num_things = _within("num_things", num_things, 2, most)
        self.families = _some_of("families", families, FORMS)
        self.frame_size = _within("frame_size", frame_size, *SIZES)
        self.max_steps = 60 * num_rooms if max_steps is None else max_steps
        self.end_on_success = end_on_success
        self.render_mode = render_mode
        last = max(_LAST[family] for family in self.families)
        self.action_space = gym.spaces.Discrete(last + 1)
        shape = (frame_size, frame_size, 3)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self._renderer = Renderer(frame_size)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        """Lay out a house; the goal is ``options["goal"]``, if given, else a new one.

        Args:
            seed: seed for the house, and for the goal if it is drawn.
            options: ``goal`` is the text of the goal.

        Raises:
            GoalError: the goal is not one of this house.
        """
        super().reset(seed=seed)
        goal = (options or {}).get("goal")
        mission = self._draw_mission() if goal is None else self._read(goal)
        others = [name for name in self._free if name not in mission.things]
        number = self.num_things - len(mission.things)
        drawn = self.np_random.choice(len(others), number, replace=False)
        names = [*mission.things, *(others[index] for index in drawn)]
        self.mission = mission
        self.scene = draw_scene(self.np_random, num_rooms=self.num_rooms, names=names)
        self._expert = self._new_expert()
        self._steps = 0
        return self._observe()

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        """Take an action; the class documents the observation, the reward and the info."""
        self._steps += 1
        self.scene.act(int(action))
        self._expert.see(int(action))
        frame, info = self._observe()
        success = info["success"]
        failed = self.mission.family == "lift" and self.scene.carried not in (None, 0)
        reward = 1.0 - 0.9 * min(self._steps / self.max_steps, 1.0) if success else 0.0
        terminated = failed or (success and self.end_on_success)
        return frame, reward, terminated, self._steps >= self.max_steps, info

    def render(self) -> Frames:  # type: ignore[override]
        """Return the frame of the last reset or step, uint8 ``[S, S, 3]``."""
        return self._frame

    def close(self) -> None:
        """Free what the house takes in OpenGL."""
        self._renderer.close()

    def captions(self) -> Captions:
        """Return the statements about the present frame, see :func:`.captions.captions`."""
        return captions(self.scene, self._renderer, self._statements)

    def steps_to_go(self) -> float:
        """Return the length of the expert's plan, see :meth:`.Expert.steps_to_go`."""
        return self._expert.steps_to_go()

    def expert_action(self) -> int:
        """Return the next action of the expert's plan, see :class:`.Expert`.

        If there is no plan, or nothing left to do, the action is a random one.
        """
        advice = self._expert.advise()
        return int(self.action_space.sample() if advice is None else advice)

    def _observe(self) -> Result:
        self._frame = self._renderer.draw(self.scene)
        success = accomplished(self.scene, self.mission)
        return self._frame, {"goal": self.mission.text, "success": success}

    def _new_expert(self) -> Expert:
        return Expert(self.scene, self.mission, can_drop=Action.DROP in self.action_space)

    def _draw_mission(self) -> Mission:
        family = self.families[int(self.np_random.integers(len(self.families)))]
        number = FORMS[family].count("{}")
        drawn = self.np_random.choice(len(self._free), number, replace=False)
        return Mission.of(family, [self._free[index] for index in drawn])

    def _read(self, goal: str) -> Mission:
        return Mission.read(goal, self.families, self.things)


def make_house(**kwargs: Any) -> House:
    """Make ``rllib_vlm_reward/House-v0``: two rooms and seven of 28 kinds of things.

    The keyword arguments are those of :class:`House`.
    """
    return House(**kwargs)


def make_house_room(**kwargs: Any) -> House:
    """Make ``rllib_vlm_reward/HouseRoom-v0``: one room and three of six kinds of things.

    The keyword arguments are those of :class:`House`.
    """
    return House(**{"num_rooms": 1, "num_things": 3, "things": ROOM_THINGS, **kwargs})


ROOM_THINGS = ("red ball", "green box", "blue barrel", "duckie", "medkit", "cone")
"""The things of ``rllib_vlm_reward/HouseRoom-v0``."""


def _within(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"{name}: got {value}, expected {low} to {high}.")
    return value


def _some_of(
    name: str, values: Sequence[str], known: Sequence[str] | dict[str, Any], empty: bool = False
) -> tuple[str, ...]:
    if not set(values) <= set(known) or len(set(values)) < len(values) or not (values or empty):
        raise ValueError(
            f"{name}: got {list(values)}, expected some of {list(known)}, each once. Correct the "
            "names."
        )
    return tuple(values)
