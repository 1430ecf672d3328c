"""adb's activity against the drawn screen, over random and expert steps.

By default some hundred steps of each; `pytest --full-matrix` plays 5,000.
"""

import numpy as np
import pytest
from screen_reader import ScreenReader

from rllib_vlm_reward.envs.android.env import Android


@pytest.fixture(scope="module")
def steps(request):
    return 5000 if request.config.getoption("--full-matrix") else 200


def play(env, steps, *, random, seed=0):
    """Yield the frame and the info at each reset and step of a play that goes on after success."""
    rng = np.random.default_rng(seed)
    over = True
    for step in range(steps):
        if over:
            yield env.reset(seed=seed + step)
        act = env.expert_action() if rng.random() >= random else rng.integers(env.action_space.n)
        frame, _, terminated, truncated, info = env.step(act)
        over = terminated or truncated
        yield frame, info


@pytest.mark.parametrize("random", [1.0, 0.2], ids=["random", "expert"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"apps": "all", "end_on_success": False}, {"labels": True}],
    ids=["common", "all", "labels"],
)
def test_adbs_activity_is_the_screen(settings, random, steps):
    env = Android(**settings)
    reader = ScreenReader(env.apps, labels=settings.get("labels", False))
    names = {app.package: app.name for app in env.apps}
    shown, successes, differ = set(), 0, 0
    for frame, info in play(env, steps, random=random):
        on_screen = reader.read(frame)
        differ += names.get(info["activity"].split("/")[0]) != on_screen
        assert info["success"] == (info["goal"] == f"open the {on_screen} app")
        shown.add(on_screen)
        successes += info["success"]
    env.close()
    assert differ == 0
    assert None in shown
    assert len(shown) > 4
    assert successes >= steps // (2500 if random == 1 else 20)


def test_the_reader_knows_the_launcher_and_wrong_pixels_from_an_app():
    env = Android()
    reader = ScreenReader(env.apps)
    frame, _ = env.reset(seed=0)
    assert reader.read(frame) is None
    while env.phone.app is None:
        frame = env.step(env.expert_action())[0]
    assert reader.read(frame) == env.phone.app.name
    frame[80, 40, 0] ^= 1
    assert reader.read(frame) is None
    env.close()
