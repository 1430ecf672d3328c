"""The statements about a phone's screen, in the words of the prompts."""

from collections.abc import Sequence

from rllib_vlm_reward.envs.android.apps import App
from rllib_vlm_reward.envs.android.goal import FORM
from rllib_vlm_reward.envs.captions import Captions, Statements
from rllib_vlm_reward.goals import Template

__all__ = ["TEMPLATES", "captions", "statements"]

TEMPLATES: dict[str, Template] = {
    "open": Template(
        FORM, "screenshot of {} on android", "screenshot of the home screen on android"
    ),
}
"""The template from a goal to a description of its success state, by family. The words are those
of the paper's template for the success state, "Screenshot of X on Android"."""


def statements(apps: Sequence[App]) -> Statements:
    """Return all statements about the screen of a phone with these apps."""
    return Statements(TEMPLATES, [app.name for app in apps], articles="")


def captions(known: Statements, app: App | None) -> Captions:
    """Return the statements about a screen.

    Args:
        known: all statements.
        app: the app that is open, or None while the launcher is shown.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import ALL
        >>> known = statements([ALL["clock"], ALL["maps"]])
        >>> captions(known, ALL["clock"]).true, captions(known, None).true
        ({'open': {'screenshot of clock on android'}}, {'open': {'screenshot of the home screen \
on android'}})
    """
    return known.captions({"open": [] if app is None else [(app.name,)]})
