"""A phone that is drawn: AndroidEnv's FakeSimulator with a launcher, apps, touches and adb."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from android_env.components.adb_controller import AdbController
from android_env.components.config_classes import AdbControllerConfig, FakeSimulatorConfig
from android_env.components.log_stream import LogStream
from android_env.components.simulators.fake.fake_simulator import FakeSimulator

from rllib_vlm_reward.envs.android.apps import App
from rllib_vlm_reward.envs.android.launcher import Launcher
from rllib_vlm_reward.envs.android.pen import Point
from rllib_vlm_reward.envs.android.screens import (
    HEIGHT,
    SCROLLS,
    STATUS_HEIGHT,
    WIDTH,
    draw_app,
    draw_status,
)
from rllib_vlm_reward.frames import Frames

__all__ = ["HOME_ACTIVITY", "DrawnPhone"]

HOME_ACTIVITY = (
    "com.google.android.apps.nexuslauncher/"
    "com.google.android.apps.nexuslauncher.NexusLauncherActivity"
)
"""The activity that adb reports while the launcher is shown."""

_SWIPE = 12.0
"""How far a finger must move, in units of the screen, for a touch to be a swipe."""


class DrawnPhone(FakeSimulator):  # type: ignore[misc]
    """A phone with pages of icons, and an app behind each icon.

    A tap on an icon opens its app. On the launcher, a swipe to the left or right shows the next or
    the previous page; in an app, a swipe up or down scrolls. The home button leaves the app, and
    on the launcher it shows the first page. Everything else changes nothing. AndroidEnv's
    coordinator drives the phone as it drives an emulator: by touches, screenshots and adb.

    Args:
        apps: the installed apps.
        num_pages: number of pages of the launcher.
        scale: number of pixels in a unit of the screen, which has 90 × 160 units.
        labels: whether icons and screens have the apps' names.

    Attributes:
        launcher: where the icons are.
        page: the page that the launcher shows, or would show without the open app.
        app: the open app, or None.
        scroll: how far the open app is scrolled.
    """

    def __init__(
        self, apps: Sequence[App], *, num_pages: int, scale: int = 1, labels: bool = False
    ) -> None:
        super().__init__(FakeSimulatorConfig(screen_dimensions=(HEIGHT * scale, WIDTH * scale)))
        self._apps, self._num_pages = tuple(apps), num_pages
        self._scale, self._labels = scale, labels
        self.renew(np.random.default_rng(0))

    def renew(self, rng: np.random.Generator) -> None:
        """Draw another launcher, theme and battery, and show the launcher's first page."""
        self.launcher = Launcher(
            self._apps,
            num_pages=self._num_pages,
            rng=rng,
            scale=self._scale,
            labels=self._labels,
        )
        self._dark = bool(rng.random() < 0.5)
        self._status = draw_status(float(rng.random()), self._scale)
        self.page, self.scroll = 0, 0
        self.app: App | None = None
        self._touched: Point | None = None

    @property
    def activity(self) -> str:
        """The current activity, which adb reports."""
        return HOME_ACTIVITY if self.app is None else self.app.activity

    def press_home(self) -> None:
        """Press the home button."""
        if self.app is None:
            self.page = 0
        self.app, self.scroll = None, 0

    def adb_device_name(self) -> str:
        """Return the name of the device, see AndroidEnv's ``BaseSimulator``."""
        return "drawn-phone"

    def create_adb_controller(self) -> AdbController:
        """Return an adb that talks to this phone, see AndroidEnv's ``BaseSimulator``."""
        return _Adb(self)

    def create_log_stream(self) -> LogStream:
        """Return a log without lines, see AndroidEnv's ``BaseSimulator``."""
        return _NoLog()

    def send_touch(self, touches: list[tuple[int, int, bool, int]]) -> None:
        """Touch the screen, or lift the finger, see AndroidEnv's ``BaseSimulator``.

        Args:
            touches: x and y in pixels, whether the finger is down, and which finger it is. Only
                the first finger counts.
        """
        x, y, is_down, _ = touches[0]
        point = (x + 0.5) / self._scale, (y + 0.5) / self._scale
        if is_down:
            self._touched = self._touched or point
        elif self._touched is not None:
            start, self._touched = self._touched, None
            self._gesture(start, (point[0] - start[0], point[1] - start[1]))

    def _gesture(self, start: Point, moved: Point) -> None:
        right, down = moved
        if max(abs(right), abs(down)) < _SWIPE:
            if self.app is None:
                self.app, self.scroll = self.launcher.app_at(self.page, start), 0
        elif abs(right) > abs(down):
            if self.app is None:
                last = len(self.launcher.pages) - 1
                self.page = min(max(self.page + (1 if right < 0 else -1), 0), last)
        elif self.app is not None:
            self.scroll = min(max(self.scroll + (1 if down < 0 else -1), 0), SCROLLS - 1)

    def _get_screenshot_impl(self) -> Frames:
        """Return the screen, uint8 ``[160 * scale, 90 * scale, 3]``."""
        if self.app is None:
            screen = self.launcher.frame(self.page)
        else:
            screen = draw_app(
                self.app, self.scroll, dark=self._dark, scale=self._scale, labels=self._labels
            )
        screenshot: Frames = screen.copy()
        screenshot[: STATUS_HEIGHT * self._scale] = self._status
        return screenshot


class _NoLog(LogStream):  # type: ignore[misc]
    """A log without lines, which ends when AndroidEnv stops it.

    AndroidEnv 1.3's own fake log writes random rewards and ends of episodes. A log that ended at
    once would make AndroidEnv start another thread at each reset.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stopped = threading.Event()

    def _get_stream_output(self) -> Iterator[str]:
        self._stopped.wait()
        return iter(())

    def stop_stream(self) -> None:
        self._stopped.set()


class _Adb(AdbController):  # type: ignore[misc]
    """Answers the adb commands of AndroidEnv 1.3 that a drawn phone needs."""

    def __init__(self, phone: DrawnPhone) -> None:
        # With its default settings, AndroidEnv 1.3's controller removes ANDROID_HOME and
        # ANDROID_ADB_SERVER_PORT from this process's environment.
        super().__init__(AdbControllerConfig(use_adb_server_port_from_os_env=True))
        self._phone = phone

    def execute_command(
        self, args: list[str], timeout: float | None = None, device_specific: bool = True
    ) -> bytes:
        """Run a command on the phone; one that it does not know changes nothing."""
        if args[:4] == ["shell", "am", "stack", "list"]:
            activity = self._phone.activity
            line = f"taskId=1: {activity} visible=true topActivity=ComponentInfo{{{activity}}}"
            return line.encode()
        if args[:4] == ["shell", "input", "keyevent", "KEYCODE_HOME"]:
            self._phone.press_home()
        elif args == ["shell", "dumpsys", "input"]:
            return b" SurfaceOrientation: 0"
        return b""
