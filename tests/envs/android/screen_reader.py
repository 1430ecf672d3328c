"""Reads from a frame alone which app it shows: that whose screen, drawn anew, has the same pixels.

Nothing here asks the env or adb; the drawing bypasses the cache that the phone draws with.
"""

from rllib_vlm_reward.envs.android.screens import SCROLLS, STATUS_HEIGHT, draw_app


class ScreenReader:
    """Knows the screens of some apps in every position and theme."""

    def __init__(self, apps, labels=False):
        draw = draw_app.__wrapped__
        self.names = {
            self.key(draw(app, scroll, dark=dark, labels=labels)): app.name
            for app in apps
            for scroll in range(SCROLLS)
            for dark in (False, True)
        }
        assert len(self.names) == len(apps) * SCROLLS * 2, "two screens look the same"

    def key(self, frame):
        return frame[STATUS_HEIGHT:].tobytes()

    def read(self, frame):
        """Return the name of the app on a frame, or None if it shows none."""
        return self.names.get(self.key(frame))
