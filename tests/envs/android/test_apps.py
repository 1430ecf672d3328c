"""The apps: each looks like no other, and has its name written only where asked for."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from rllib_vlm_reward.envs.android import screens
from rllib_vlm_reward.envs.android.apps import ALL, COLORS, COMMON, DIVERSE, chosen_apps
from rllib_vlm_reward.envs.android.captions import TEMPLATES, captions, statements
from rllib_vlm_reward.envs.android.env import Android
from rllib_vlm_reward.envs.android.goal import FORM, app_of
from rllib_vlm_reward.envs.android.icons import GLYPHS, SHAPES, draw_icon
from rllib_vlm_reward.envs.android.screens import HEADER_HEIGHT, LAYOUTS, STATUS_HEIGHT, draw_app

HEADER = slice(STATUS_HEIGHT, STATUS_HEIGHT + HEADER_HEIGHT)


def test_ten_are_common_and_fifty_more_diverse():
    assert (len(COMMON), len(DIVERSE), len(ALL)) == (10, 50, 60)
    assert len({app.package for app in ALL.values()}) == 60
    assert all(name == app.name for name, app in ALL.items())


def test_every_look_exists_and_is_used():
    apps = list(ALL.values())
    for attribute, table in (("shape", SHAPES), ("glyph", GLYPHS), ("layout", LAYOUTS)):
        used = {getattr(app, attribute) for app in apps}
        assert used <= set(table)
        assert set(table) - used <= {"dots"}  # of an app that has no look
    assert {app.ground for app in apps} | {app.mark for app in apps} <= set(COLORS)


def changed(one, others):
    """Return the share of pixels that clearly differ, for each of the other pictures."""
    return (np.abs(one.astype(np.int16) - others).max(axis=-1) > 40).mean(axis=(-2, -1))


def least_changed(pictures):
    """Return the smallest share of pixels in which two of the pictures differ."""
    stacked = np.stack(pictures)
    return min(changed(one, stacked[i + 1 :]).min() for i, one in enumerate(stacked[:-1]))


def test_no_two_icons_look_alike():
    grey = Image.new("RGBA", (15, 15), (128, 128, 128, 255))
    icons = [Image.alpha_composite(grey, draw_icon(app, 15)) for app in ALL.values()]
    assert least_changed([np.array(icon.convert("RGB")) for icon in icons]) > 0.1


@pytest.mark.parametrize("dark", [False, True])
def test_no_two_screens_look_alike(dark):
    shown = [draw_app(app, dark=dark) for app in ALL.values()]
    assert least_changed(shown) > 0.05
    assert least_changed([screen[HEADER] for screen in shown]) > 0.01


def test_an_app_has_the_same_icon_and_screen_on_each_phone():
    for app in (ALL["clock"], ALL["photos"]):
        np.testing.assert_array_equal(draw_app(app), draw_app.__wrapped__(app))
        assert draw_icon(app, 15).tobytes() == draw_icon.__wrapped__(app, 15).tobytes()


def test_names_are_written_only_where_asked_for(monkeypatch):
    written = []
    text = ImageDraw.ImageDraw.text
    draw_app.cache_clear()

    def write(self, at, what, **kwargs):
        written.append(what)
        return text(self, at, what, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", write)
    for labels in (False, True):
        env = Android("all", labels=labels, num_pages=3)
        env.phone.renew(np.random.default_rng(0))
        written.clear()
        for page in range(3):
            env.phone.launcher.frame(page)
        for app in env.apps:
            draw_app(app, labels=labels)
        env.close()
        assert sorted(written) == (sorted([*ALL, *ALL]) if labels else [])


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_larger_phone_shows_the_same(scale):
    small, large = draw_app(ALL["clock"]), draw_app(ALL["clock"], scale=scale)
    shrunk = Image.fromarray(large).resize((90, 160), Image.Resampling.BOX)
    assert changed(small, np.array(shrunk)) < 0.05


def test_screens_can_be_scrolled():
    for app in ALL.values():
        seen = [
            draw_app(app, scroll)[screens.STATUS_HEIGHT + HEADER_HEIGHT :] for scroll in (0, 1, 2)
        ]
        for one, other in combinations(seen, 2):
            assert (one != other).any()


def test_users_packages_replace_ours():
    apps = chosen_apps({"clock": "org.clock", "mine": "org.mine"}, drawn=False)
    assert [app.package for app in apps] == ["org.clock", "org.mine"]
    assert apps[0].glyph == "hands"


def test_a_goals_prompt_is_the_caption_of_its_success():
    """What an agent is paid for, and what a CLIP is trained on, have the same words."""
    known = statements(tuple(ALL.values()))
    for text in map(FORM.format, ALL):
        app = app_of(text, tuple(ALL.values()))
        assert captions(known, app).true == {"open": {TEMPLATES["open"].fill(text)}}
    assert captions(known, None).true == {"open": {TEMPLATES["open"].nothing}}
