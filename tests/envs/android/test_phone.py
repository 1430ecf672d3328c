"""The drawn phone: icons in random places, touches, and adb through AndroidEnv's own parser."""

from itertools import combinations

import numpy as np
import pytest
from android_env.components.adb_call_parser import AdbCallParser
from android_env.proto.adb_pb2 import AdbRequest, AdbResponse

from rllib_vlm_reward.envs.android.apps import ALL, COMMON
from rllib_vlm_reward.envs.android.launcher import PLACES, Launcher
from rllib_vlm_reward.envs.android.phone import HOME_ACTIVITY, DrawnPhone
from rllib_vlm_reward.envs.android.screens import ICON_SIDE

APPS = tuple(COMMON.values())


@pytest.fixture
def phone():
    return DrawnPhone(APPS, num_pages=2)


def drag(phone, start, end):
    phone.send_touch([(*start, True, 0)])
    phone.send_touch([(*end, True, 0)])
    phone.send_touch([(*end, False, 0)])


def tap(phone, app):
    x, y = phone.launcher.pages[phone.page][app]
    place = (int(x) + ICON_SIDE // 2, int(y) + ICON_SIDE // 2)
    drag(phone, place, place)


def adb(phone, **request):
    return AdbCallParser(phone.create_adb_controller()).parse(AdbRequest(**request))


def test_a_tap_on_an_icon_opens_its_app(phone):
    for app in phone.launcher.pages[0]:
        tap(phone, app)
        assert phone.app == app
        phone.press_home()


def test_what_is_drawn_is_what_is_tapped(phone):
    """Where an icon's pixels are: the wallpaper's differ there."""
    phone.launcher.pages[0] = dict(list(phone.launcher.pages[0].items())[:1])
    ((app, _),) = phone.launcher.pages[0].items()
    with_icon = phone.launcher.frame(0).astype(int)
    there = phone.launcher.pages[0].copy()
    phone.launcher.pages[0].clear()
    phone.launcher._frames.clear()
    rows, columns = np.nonzero((with_icon != phone.launcher.frame(0)).any(axis=-1))
    phone.launcher.pages[0].update(there)
    assert rows.max() - rows.min() < ICON_SIDE
    for x, y in zip(columns, rows, strict=True):
        assert phone.launcher.app_at(0, (x + 0.5, y + 0.5)) == app
    for dx, dy in ((-ICON_SIDE, 0), (ICON_SIDE, 0), (0, -ICON_SIDE), (0, ICON_SIDE)):
        middle = (columns.mean() + 0.5 + dx, rows.mean() + 0.5 + dy)
        assert phone.launcher.app_at(0, middle) is None


@pytest.mark.parametrize("scale", [1, 2])
def test_touches_are_in_the_screenshots_pixels(scale):
    phone = DrawnPhone(APPS, num_pages=1, scale=scale)
    height, width = phone.get_screenshot().shape[:2]
    assert (height, width) == (160 * scale, 90 * scale)
    for app, (x, y) in phone.launcher.pages[0].items():
        for inside in (0.5, ICON_SIDE - 0.5):
            place = (int((x + inside) * scale), int((y + inside) * scale))
            drag(phone, place, place)
            assert phone.app == app
            phone.press_home()


def test_swipes_turn_pages_and_stop_at_the_ends(phone):
    pages = []
    for start, end in (((80, 80), (10, 80)),) * 2 + (((10, 80), (80, 80)),) * 2:
        drag(phone, start, end)
        pages.append(phone.page)
    assert pages == [1, 1, 0, 0]
    drag(phone, (45, 120), (45, 40))
    assert (phone.page, phone.app) == (0, None)


def test_swipes_scroll_an_app_and_home_leaves_it(phone):
    drag(phone, (80, 80), (10, 80))
    tap(phone, next(iter(phone.launcher.pages[1])))
    scrolls, frames = [], []
    for start, end in (((45, 120), (45, 40)),) * 3 + (((45, 40), (45, 120)),) * 3:
        drag(phone, start, end)
        scrolls.append(phone.scroll)
        frames.append(phone.get_screenshot())
    assert scrolls == [1, 2, 2, 1, 0, 0]
    np.testing.assert_array_equal(frames[0], frames[3])
    assert (frames[0] != frames[1]).any()
    drag(phone, (80, 80), (10, 80))
    assert phone.app is not None
    phone.press_home()
    assert (phone.app, phone.page) == (None, 1)
    phone.press_home()
    assert phone.page == 0


def test_a_lift_without_a_touch_and_a_second_finger_do_nothing(phone):
    before = phone.get_screenshot()
    app, (x, y) = next(iter(phone.launcher.pages[0].items()))
    there = (int(x) + 7, int(y) + 7)
    phone.send_touch([(*there, False, 0)])
    phone.send_touch([(0, 0, True, 0), (*there, True, 1)])
    phone.send_touch([(0, 0, False, 0), (*there, False, 1)])
    np.testing.assert_array_equal(phone.get_screenshot(), before)
    tap(phone, app)
    assert phone.app == app


def test_adb_reports_the_activity(phone):
    for app in (None, COMMON["clock"]):
        phone.app = app
        response = adb(phone, get_current_activity=AdbRequest.GetCurrentActivity())
        assert response.status == AdbResponse.OK
        expected = HOME_ACTIVITY if app is None else app.activity
        assert response.get_current_activity.full_activity == expected


def test_icons_are_in_random_places():
    places = {app: set() for app in APPS}
    for seed in range(200):
        launcher = Launcher(APPS, num_pages=2, rng=np.random.default_rng(seed))
        for number, page in enumerate(launcher.pages):
            for app, (x, y) in page.items():
                places[app].add((number, int(x // 22.5), int((y - 20) // 20)))
    for app, seen in places.items():
        assert len(seen) == pytest.approx(2 * PLACES, abs=4), app


def test_icons_lie_apart_and_on_the_screen():
    for seed in range(50):
        launcher = Launcher(tuple(ALL.values()), num_pages=3, rng=np.random.default_rng(seed))
        for page in launcher.pages:
            assert len(page) == 20
            for (x, y), (x2, y2) in combinations(page.values(), 2):
                assert abs(x - x2) >= ICON_SIDE or abs(y - y2) >= ICON_SIDE
            assert all(
                0 <= x <= 90 - ICON_SIDE and 20 <= y <= 140 - ICON_SIDE for x, y in page.values()
            )


def test_wallpapers_vary():
    frames = [
        Launcher(APPS, num_pages=1, rng=np.random.default_rng(seed)).frame(0) for seed in range(8)
    ]
    for one, other in combinations(frames, 2):
        assert (np.abs(one.astype(int) - other).max(axis=-1) > 10).mean() > 0.5
