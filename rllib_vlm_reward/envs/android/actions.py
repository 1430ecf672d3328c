"""The discrete actions of the phone, and the touches that each consists of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from android_env.components.action_type import ActionType

from rllib_vlm_reward.envs.android.pen import Point
from rllib_vlm_reward.errors import ConfigError

__all__ = ["REPEAT", "SWIPES", "Actions", "Touch"]

Touch = dict[str, npt.NDArray[np.generic]]
"""An action of AndroidEnv: ``action_type``, and ``touch_position`` as shares of the screen."""

SWIPES: dict[str, tuple[Point, Point]] = {
    "left": ((0.85, 0.5), (0.15, 0.5)),
    "right": ((0.15, 0.5), (0.85, 0.5)),
    "up": ((0.5, 0.75), (0.5, 0.3)),
    "down": ((0.5, 0.3), (0.5, 0.75)),
}
"""Start and end of each swipe, as shares of the screen; the name says where the finger moves."""

_SWIPE_TOUCHES = 5


def _touch(kind: ActionType, point: Sequence[float]) -> Touch:
    position = np.array(point, np.float32)
    return {"action_type": np.array(kind, np.int32), "touch_position": position}


REPEAT: Touch = _touch(ActionType.REPEAT, (0.0, 0.0))
"""Touches nothing; AndroidEnv answers with a new screenshot."""


class Actions:
    """Taps on the middles of a grid's cells, row by row; four swipes; and the home button.

    The home button is pressed by adb, so its action has no touches.

    Args:
        taps: number of rows and columns of the grid.

    Attributes:
        names: the name of each action.
        home: the number of the home button, which is the last action.

    Raises:
        ConfigError: ``taps`` are not two positive numbers.

    Example:
        >>> actions = Actions((8, 4))
        >>> len(actions.names), actions.names[0], actions.names[-5:]
        (37, 'tap 0 0', ['swipe left', 'swipe right', 'swipe up', 'swipe down', 'home'])
        >>> [int(touch["action_type"]) for touch in actions.touches(5)]
        [0, 1]
    """

    def __init__(self, taps: Sequence[int] = (8, 4)) -> None:
        if len(taps) != 2 or not all(isinstance(number, int) and number > 0 for number in taps):
            raise ConfigError(
                f"taps: got {taps!r}, expected the numbers of rows and columns of the grid of "
                "taps, such as [8, 4]."
            )
        rows, columns = taps
        self.points: list[Point] = [
            ((column + 0.5) / columns, (row + 0.5) / rows)
            for row in range(rows)
            for column in range(columns)
        ]
        self.names = [f"tap {row} {column}" for row in range(rows) for column in range(columns)]
        self.names += [*(f"swipe {name}" for name in SWIPES), "home"]
        self.home = len(self.names) - 1
        self._touches = [self._tap(point) for point in self.points]
        self._touches += [self._swipe(start, end) for start, end in SWIPES.values()]
        self._touches += [()]

    def __len__(self) -> int:
        return len(self.names)

    def swipe(self, name: str) -> int:
        """Return the number of a swipe: left, right, up or down."""
        return len(self.points) + list(SWIPES).index(name)

    def touches(self, action: int) -> tuple[Touch, ...]:
        """Return AndroidEnv's actions for an action; the home button has none."""
        return self._touches[action]

    @staticmethod
    def _tap(point: Point) -> tuple[Touch, ...]:
        return _touch(ActionType.TOUCH, point), _touch(ActionType.LIFT, point)

    @staticmethod
    def _swipe(start: Point, end: Point) -> tuple[Touch, ...]:
        way = np.linspace(start, end, _SWIPE_TOUCHES)
        return (
            *(_touch(ActionType.TOUCH, point) for point in way),
            _touch(ActionType.LIFT, end),
        )
