"""The shortest plan that opens an app on a drawn phone."""

from rllib_vlm_reward.envs.android.actions import Actions
from rllib_vlm_reward.envs.android.apps import App
from rllib_vlm_reward.envs.android.phone import DrawnPhone
from rllib_vlm_reward.envs.android.screens import HEIGHT, WIDTH

__all__ = ["shortest_plan"]


def shortest_plan(phone: DrawnPhone, app: App, actions: Actions) -> list[int] | None:
    """Return the actions of the shortest way to open an app, from the phone's present state.

    The way: leave another open app, swipe to the page of the icon (or press home for the first
    page, and swipe from there), and tap the icon.

    Returns:
        The actions, none if the app is open; or None if no tap of the grid hits the icon.

    Example:
        >>> from rllib_vlm_reward.envs.android.apps import COMMON
        >>> apps = tuple(COMMON.values())
        >>> phone, actions = DrawnPhone(apps, num_pages=1), Actions()
        >>> plan = shortest_plan(phone, apps[0], actions)
        >>> len(plan), actions.names[plan[0]].split()[0]
        (1, 'tap')
    """
    if phone.app == app:
        return []
    page = phone.launcher.page_of(app)
    hits = [
        number
        for number, (x, y) in enumerate(actions.points)
        if phone.launcher.app_at(page, (x * WIDTH, y * HEIGHT)) == app
    ]
    if not hits:
        return None
    leave = [] if phone.app is None else [actions.home]
    direct = _swipes(actions, phone.page, page)
    by_home = [actions.home, *_swipes(actions, 0, page)]
    return [*leave, *min(direct, by_home, key=len), hits[0]]


def _swipes(actions: Actions, start: int, end: int) -> list[int]:
    return [actions.swipe("left" if end > start else "right")] * abs(end - start)
