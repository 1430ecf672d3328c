"""The goals of a phone: the text "open the X app", and the app that it names."""

import difflib
from collections.abc import Sequence

from rllib_vlm_reward.envs.android.apps import App
from rllib_vlm_reward.errors import GoalError

__all__ = ["FORM", "app_of"]

FORM = "open the {} app"
"""The text of a goal; the blank is the app's name."""


def app_of(text: str, apps: Sequence[App]) -> App:
    """Return the app that a goal's text names.

    Args:
        text: a text in the form of :data:`FORM`.
        apps: the apps of the phone.

    Raises:
        GoalError: the text has another form, or names another app. The error suggests the closest
            goal.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import COMMON
        >>> app_of("open the clock app", list(COMMON.values())).name
        'clock'
        >>> app_of("open the clocks app", list(COMMON.values()))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.GoalError: goal 'open the clocks app': expected 'open the NAME \
app' with one of the phone's 10 apps. The closest goal is 'open the clock app'; the setting `apps` \
of the env chooses the apps.
    """
    goals = {FORM.format(app.name): app for app in apps}
    if text in goals:
        return goals[text]
    close = difflib.get_close_matches(text, goals, n=1, cutoff=0)[0]
    raise GoalError(
        f"goal {text!r}: expected {FORM.format('NAME')!r} with one of the phone's {len(apps)} "
        f"apps. The closest goal is {close!r}; the setting `apps` of the env chooses the apps."
    )
