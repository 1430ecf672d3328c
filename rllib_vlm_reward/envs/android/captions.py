"""The statements that are true of a phone's screen, in the words of the prompts."""

from rllib_vlm_reward.envs.android.apps import App
from rllib_vlm_reward.envs.android.goal import FORM
from rllib_vlm_reward.goals import Template

__all__ = ["TEMPLATES", "captions"]

TEMPLATES: dict[str, Template] = {
    "open": Template(
        FORM, "screenshot of {} on android", "screenshot of the home screen on android"
    ),
}
"""The template from a goal to a description of its success state, by family. The words are those
of the paper's template for the success state, "Screenshot of X on Android"."""


def captions(app: App | None) -> dict[str, set[str]]:
    """Return the statement that is true of a screen, by family.

    Args:
        app: the app that is open, or None while the launcher is shown.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import ALL
        >>> captions(ALL["clock"]), captions(None)
        ({'open': {'screenshot of clock on android'}}, {'open': {'screenshot of the home screen \
on android'}})
    """
    template = TEMPLATES["open"]
    statement = template.nothing if app is None else template.prompt.format(app.name)
    return {"open": {str(statement)}}
