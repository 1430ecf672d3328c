"""The phone as a gymnasium env: screenshots, touches, a goal in words, and truth from adb."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from android_env.components.config_classes import (
    CoordinatorConfig,
    DeviceSettingsConfig,
    TaskManagerConfig,
)
from android_env.components.coordinator import Coordinator
from android_env.components.device_settings import DeviceSettings
from android_env.components.errors import AndroidEnvError
from android_env.components.simulators.base_simulator import BaseSimulator
from android_env.components.task_manager import TaskManager
from android_env.environment import AndroidEnv
from android_env.proto.adb_pb2 import AdbRequest, AdbResponse
from android_env.proto.task_pb2 import Task
from PIL import Image

from rllib_vlm_reward.envs.android.actions import REPEAT, Actions
from rllib_vlm_reward.envs.android.apps import chosen_apps
from rllib_vlm_reward.envs.android.captions import TEMPLATES, captions, statements
from rllib_vlm_reward.envs.android.emulator import Emulator
from rllib_vlm_reward.envs.android.goal import FORM, app_of
from rllib_vlm_reward.envs.android.launcher import PLACES
from rllib_vlm_reward.envs.android.phone import DrawnPhone
from rllib_vlm_reward.envs.android.plan import shortest_plan
from rllib_vlm_reward.envs.android.screens import HEIGHT, WIDTH
from rllib_vlm_reward.envs.captions import Captions
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.frames import Frames

__all__ = ["Android"]

Result = tuple[Frames, dict[str, Any]]

_ICONS_PER_PAGE = 12
_HOME = AdbRequest(press_button=AdbRequest.PressButton(button=AdbRequest.PressButton.HOME))
_ACTIVITY = AdbRequest(get_current_activity=AdbRequest.GetCurrentActivity())


class Android(gym.Env[Frames, int]):
    """A phone on which the agent opens the app that the goal names.

    The env drives AndroidEnv's own coordinator. By default the phone behind it is drawn, see
    :class:`.phone.DrawnPhone`, with its apps in other places at each reset. With ``emulator``, it
    is a real Android emulator, through the same observation, actions and ground truth.

    The observation and ``render()`` are the screenshot, uint8 ``[160 * scale, 90 * scale, 3]``. An
    action is a number, see :class:`.actions.Actions`. At reset and at every step,
    ``info["goal"]`` is the goal, such as "open the clock app", ``info["activity"]`` is the
    activity that adb reports, and ``info["success"]`` is whether the activity belongs to the
    goal's app. The reward is 1 when the app opens, else 0.

    Args:
        apps: the apps of the phone, from which goals are drawn: ``common`` (10), ``diverse`` (50),
            ``all`` (60), a list of names, or a mapping from names to Android packages.
        num_pages: number of pages of the drawn launcher; None takes one for each 12 apps, and at
            least two.
        max_steps: number of steps until truncation.
        end_on_success: whether ground-truth success ends the episode. If False, only the time
            limit and the reward's ``early_end`` end it, as in the paper.
        taps: number of rows and columns of the grid of taps.
        scale: number of pixels in a unit of the screen, which has 90 × 160 units.
        labels: whether the drawn phone writes the apps' names below icons and into headers. A
            CLIP that reads them needs no picture.
        emulator: the settings of an :class:`.emulator.Emulator`, as a mapping; None draws a phone.
        render_mode: ``rgb_array``.

    Attributes:
        apps: the apps of the phone.
        actions: the actions.
        phone: the drawn phone, or None with an emulator.

    Raises:
        ConfigError: a setting is wrong, or the emulator cannot be reached.

    Example:
        >>> env = gym.make("rllib_vlm_reward/Android-v0", apps=["clock", "maps", "music"])
        >>> frame, info = env.reset(seed=1, options={"goal": "open the maps app"})
        >>> frame.shape, info["goal"], info["success"]
        ((160, 90, 3), 'open the maps app', False)
        >>> while not info["success"]:
        ...     frame, reward, terminated, _, info = env.step(env.unwrapped.expert_action())
        >>> reward, terminated, info["activity"].split("/")[0]
        (1.0, True, 'com.google.android.apps.maps')
        >>> env.close()
    """

    # gymnasium's own form
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012
    templates = TEMPLATES

    def __init__(
        self,
        apps: str | Sequence[str] | Mapping[str, str] = "common",
        *,
        num_pages: int | None = None,
        max_steps: int = 20,
        end_on_success: bool = True,
        taps: Sequence[int] = (8, 4),
        scale: int = 1,
        labels: bool = False,
        emulator: Mapping[str, Any] | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        self.render_mode = render_mode
        self.apps = chosen_apps(apps, drawn=emulator is None)
        self._statements = statements(self.apps)
        self.actions = Actions(taps)
        self.max_steps, self.end_on_success = max_steps, end_on_success
        if not all(isinstance(number, int) and number > 0 for number in (max_steps, scale)):
            raise ConfigError(
                f"max_steps, scale: got {max_steps} and {scale}, expected whole numbers of at "
                "least 1. Correct them."
            )
        if emulator is not None and (labels or num_pages is not None):
            raise ConfigError(
                f"emulator: got it beside num_pages={num_pages} and labels={labels}, which are "
                "settings of the drawn phone. Remove them, or the emulator."
            )
        self._settle_s = 0.0
        self.phone: DrawnPhone | None = None
        if emulator is None:
            pages = _num_pages(num_pages, len(self.apps))
            self.phone = DrawnPhone(self.apps, num_pages=pages, scale=scale, labels=labels)
            self._android = _connected(self.phone)
        else:
            settings = Emulator.read(emulator)
            self._settle_s = settings.settle_s
            self._android = _connected_emulator(settings)
        self.action_space = gym.spaces.Discrete(len(self.actions))
        shape = (HEIGHT * scale, WIDTH * scale, 3)
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self._frame: Frames = np.zeros(shape, np.uint8)
        self._goal, self._app = "", self.apps[0]
        self._steps, self._success = 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Result:
        """Start an episode on the launcher; the goal is ``options["goal"]``, if given, else drawn.

        Args:
            seed: seed of the drawn phone, and of the goal if it is drawn.
            options: ``goal`` is the text of the goal.

        Raises:
            GoalError: the goal names no app of the phone.
        """
        super().reset(seed=seed)
        drawn = self.apps[self.np_random.integers(len(self.apps))]
        goal = (options or {}).get("goal")
        self._goal = FORM.format(drawn.name) if goal is None else goal
        self._app = app_of(self._goal, self.apps)
        if self.phone is not None:
            self.phone.renew(self.np_random)
        self._adb(_HOME)  # leaves an open app,
        self._adb(_HOME)  # and shows the launcher's first page
        time.sleep(self._settle_s)
        timestep = self._android.reset()
        self._steps, self._success = 0, False
        return self._see(timestep.observation["pixels"])

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        """Take an action; the class documents the observation and the info."""
        touches = self.actions.touches(int(action))
        if not touches:
            self._adb(_HOME)
        # An emulator needs a moment until the screenshot shows what was done.
        looks = (REPEAT,) if self._settle_s or not touches else ()
        for touch in (*touches, *looks):
            if touch is REPEAT:
                time.sleep(self._settle_s)
            timestep = self._android.step(touch)
            if timestep.last():
                break
        before = self._success
        frame, info = self._see(timestep.observation["pixels"])
        self._steps += 1
        terminated = self._success and self.end_on_success
        # AndroidEnv ends an episode when the simulator failed; it restarts it at the next reset.
        truncated = self._steps >= self.max_steps or timestep.last()
        return frame, float(self._success and not before), terminated, truncated, info

    def render(self) -> Frames:  # type: ignore[override]
        """Return the screenshot of the last reset or step, uint8 ``[H, W, 3]``."""
        return self._frame

    def close(self) -> None:
        """Disconnect from the phone; an emulator that the env started is stopped."""
        self._android.close()

    def steps_to_go(self) -> float:
        """Return the number of actions of the shortest way to success.

        It is 0 while the goal's app is open, ``inf`` if no tap of the grid hits its icon, and NaN
        with an emulator, whose icons are not known.
        """
        if self.phone is None:
            return math.nan
        plan = shortest_plan(self.phone, self._app, self.actions)
        return math.inf if plan is None else float(len(plan))

    def expert_action(self) -> int:
        """Return the next action of the shortest way to success.

        While the goal's app is open, it is a swipe, which keeps the app open; if no tap of the
        grid hits the app's icon, it is a random action.

        Raises:
            ConfigError: the phone is an emulator, whose icons are not known.
        """
        if self.phone is None:
            raise ConfigError(
                "expert_action: got an emulator, expected a drawn phone, on which it is known "
                "where the icons are. Remove the setting `emulator`, or play at random."
            )
        plan = shortest_plan(self.phone, self._app, self.actions)
        if plan is None:
            return int(self.action_space.sample())
        return plan[0] if plan else self.actions.swipe("left")

    def captions(self) -> Captions:
        """Return the statements about the screen, see :func:`.captions.captions`.

        All are unclear while an emulator shows an app that is not among :attr:`apps`.
        """
        activity = self._activity()
        package = activity.split("/")[0]
        app = next((app for app in self.apps if app.package == package), None)
        # An emulator may show an app that no goal names, of which no statement is known.
        known = app is not None or "launcher" in activity
        return captions(self._statements, app) if known else self._statements.unknown()

    def _see(self, pixels: Frames) -> Result:
        height, width = self.observation_space.shape[:2]  # type: ignore[index]
        pixels = np.ascontiguousarray(pixels)  # an emulator's has a fourth channel behind it
        if pixels.shape[:2] != (height, width):
            image = Image.fromarray(pixels)
            pixels = np.array(image.resize((width, height), Image.Resampling.BOX))
        self._frame = pixels
        activity = self._activity()
        self._success = activity.split("/")[0] == self._app.package
        return pixels, {"goal": self._goal, "success": self._success, "activity": activity}

    def _activity(self) -> str:
        response = self._adb(_ACTIVITY)
        return str(response.get_current_activity.full_activity)

    def _adb(self, request: AdbRequest) -> AdbResponse:
        response = self._android.execute_adb_call(request)
        if response.status != AdbResponse.OK:
            raise RuntimeError(
                f"adb: {request.WhichOneof('command')} failed: {response.error_message!r}. Check "
                "that the phone is still connected: `adb devices`."
            )
        return response


def _num_pages(num_pages: int | None, num_apps: int) -> int:
    pages = max(2, -(-num_apps // _ICONS_PER_PAGE)) if num_pages is None else num_pages
    least = -(-num_apps // PLACES)
    if not least <= pages <= num_apps:
        raise ConfigError(
            f"num_pages: got {num_pages}, expected {least} to {num_apps}: a page has room for "
            f"{PLACES} of the {num_apps} apps, and none may be empty. Change num_pages or apps."
        )
    return pages


def _connected(simulator: BaseSimulator) -> AndroidEnv:
    """Return AndroidEnv around a simulator, with a task that pays nothing and never ends."""
    # A frequency of 0 is never: AndroidEnv would check every 150 steps whether an app was left.
    task_manager = TaskManager(Task(id="open"), TaskManagerConfig(dumpsys_check_frequency=0))
    # AndroidEnv would draw where the finger is.
    settings = DeviceSettingsConfig(show_touches=False, show_pointer_location=False)
    coordinator = Coordinator(
        simulator,
        task_manager,
        device_settings=DeviceSettings(simulator),
        config=CoordinatorConfig(device_settings=settings),
    )
    return AndroidEnv(simulator=simulator, coordinator=coordinator, task_manager=task_manager)


def _connected_emulator(settings: Emulator) -> AndroidEnv:
    config = settings.config()
    # It imports gRPC, which a drawn phone does not need.
    from android_env.components.simulators.emulator.emulator_simulator import EmulatorSimulator

    try:
        return _connected(EmulatorSimulator(config))
    except (AndroidEnvError, OSError) as error:
        raise ConfigError(
            f"emulator: AndroidEnv cannot use it: {error!r}, caused by {error.__cause__!r}. Check "
            "that `adb devices` lists it as a device, and that it has booted."
        ) from error
