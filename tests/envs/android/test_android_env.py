"""The env: what an agent sees, its goal, when an episode ends; and AndroidEnv behind it."""

import gc
import os
import resource
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from android_env.components.coordinator import Coordinator
from android_env.proto.adb_pb2 import AdbRequest
from gymnasium.utils.env_checker import check_env

import rllib_vlm_reward  # noqa: F401  (registers the envs)
from rllib_vlm_reward.envs.android.apps import ALL, COMMON, DIVERSE
from rllib_vlm_reward.envs.android.env import Android
from rllib_vlm_reward.errors import ConfigError, GoalError

NAME = "rllib_vlm_reward/Android-v0"


@pytest.fixture
def make():
    """Returns a function that makes an env, which is closed after the test."""
    made = []

    def make_env(*args, **kwargs):
        made.append(Android(*args, **kwargs))
        return made[-1]

    yield make_env
    for env in made:
        env.close()


def solve(env, seed=0, goal=None):
    """Let the expert play; return each step's result."""
    env.reset(seed=seed, options=goal and {"goal": goal})
    results = []
    while not results or not (results[-1][2] or results[-1][3]):
        results.append(env.step(env.expert_action()))
    return results


@pytest.mark.filterwarnings("ignore:.*")
def test_gymnasium_finds_no_fault(make):
    check_env(make(), skip_render_check=True)


@pytest.mark.filterwarnings("error")
def test_make_passes_keywords_on():
    env = gym.make(NAME, render_mode="rgb_array", apps=["clock", "maps"], scale=2)
    frame, info = env.reset(seed=0)
    assert frame.shape == env.render().shape == (320, 180, 3)
    assert info["goal"] in ("open the clock app", "open the maps app")
    env.step(env.action_space.sample())
    env.close()


def test_the_steps_go_through_androidenvs_coordinator(make, monkeypatch):
    sent = []
    step = Coordinator.rl_step
    monkeypatch.setattr(Coordinator, "rl_step", lambda *args: sent.append(args[1]) or step(*args))
    env = make()
    env.reset(seed=0)
    spec = env._android.action_spec()
    for action in range(env.action_space.n):
        env.step(action)
    for touch in sent:
        for name, value in touch.items():
            spec[name].validate(value.astype(spec[name].dtype))
    taps, swipes, home = 32, 4, 1
    assert len(sent) == 2 * taps + 6 * swipes + home


def test_the_observation_is_androidenvs_screenshot(make):
    env = make()
    frame, _ = env.reset(seed=0)
    assert env._android.observation_spec()["pixels"].shape == frame.shape == (160, 90, 3)
    for action in (3, 9, env.actions.swipe("left"), env.actions.home):
        frame, *_ = env.step(action)
        assert env.observation_space.contains(frame)
        np.testing.assert_array_equal(frame, env._android.raw_observation["pixels"])
        np.testing.assert_array_equal(frame, env.render())


@pytest.mark.parametrize("scale", [1, 3])
def test_a_scale_sets_the_frame(make, scale):
    env = make(scale=scale)
    assert env.reset(seed=0)[0].shape == env.observation_space.shape == (160 * scale, 90 * scale, 3)


@pytest.mark.parametrize(("apps", "number"), [("common", 10), ("diverse", 50), ("all", 60)])
def test_the_expert_opens_every_app(make, apps, number):
    env = make(apps)
    assert len(env.apps) == number
    for seed, app in enumerate(env.apps):
        results = solve(env, seed, f"open the {app.name} app")
        assert [reward for _, reward, *_ in results] == [0.0] * (len(results) - 1) + [1.0]
        assert results[-1][2]
        assert results[-1][4]["success"]
        assert results[-1][4]["activity"].startswith(app.package)


def test_goals_are_drawn_among_all_apps(make):
    env = make()
    goals = {env.reset(seed=seed)[1]["goal"] for seed in range(100)}
    assert goals == {f"open the {name} app" for name in COMMON}


def test_envs_that_are_never_seeded_play_different_goals(make):
    played = [[env.reset()[1]["goal"] for _ in range(8)] for env in (make(), make(), make())]
    assert played[0] != played[1] != played[2]


@pytest.mark.parametrize(
    "goal", ["open the clocks app", "open the weather app", "open clock", "", "open the {} app"]
)
def test_an_unknown_goal_is_one_clear_error(make, goal):
    env = make()
    with pytest.raises(GoalError, match="expected 'open the NAME app' with one of the phone's 10"):
        env.reset(options={"goal": goal})


def test_success_is_adbs_word_not_that_of_pixels(make, monkeypatch):
    env = make()
    env.reset(seed=0, options={"goal": "open the clock app"})
    monkeypatch.setattr(type(env.phone), "activity", COMMON["clock"].activity)
    _, reward, terminated, _, info = env.step(env.actions.home)
    assert (info["success"], reward, terminated) == (True, 1.0, True)
    assert info["activity"] == COMMON["clock"].activity


def test_a_wrong_app_is_no_success_and_can_be_left(make):
    env = make()
    env.reset(seed=0, options={"goal": "open the clock app"})
    env.phone.app = COMMON["maps"]
    *_, info = env.step(env.actions.swipe("left"))
    assert (info["success"], info["activity"]) == (False, COMMON["maps"].activity)
    assert env.expert_action() == env.actions.home


def test_without_an_end_on_success_the_time_limit_ends_the_episode(make):
    env = make(end_on_success=False, max_steps=9)
    results = solve(env)
    assert len(results) == 9
    assert [result[2] for result in results] == [False] * 9
    assert [result[3] for result in results] == [False] * 8 + [True]
    assert sum(result[1] for result in results) == 1, "it is paid once"
    assert results[-1][4]["success"]


def test_an_app_that_was_open_is_closed_at_reset(make):
    env = make()
    solve(env)
    _, info = env.reset(seed=5)
    assert not info["success"]
    assert "launcher" in info["activity"]


@pytest.mark.parametrize(("settings", "key"), [({}, "plain"), ({"labels": True}, "labels")])
def test_a_seed_gives_one_episode(make, settings, key):
    def episode(seed):
        env = make("all", **settings)
        rng = np.random.default_rng(0)
        frames = [env.reset(seed=seed)[0]]
        frames += [env.step(rng.integers(37))[0] for _ in range(30)]
        return np.stack(frames)

    np.testing.assert_array_equal(episode(3), episode(3))
    assert (episode(3)[0] != episode(4)[0]).mean() > 0.5, "wallpaper and icons differ"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec_is_the_single_envs_side_by_side(mode):
    many = gym.make_vec(NAME, num_envs=2, vectorization_mode=mode)
    try:
        frames, infos = many.reset(seed=[7, 8])
        many.action_space.seed(0)
        actions = [many.action_space.sample() for _ in range(6)]
        stepped = [many.step(action) for action in actions]
    finally:
        many.close()
    for index, seed in enumerate((7, 8)):
        one = gym.make(NAME)
        frame, info = one.reset(seed=seed)
        np.testing.assert_array_equal(frames[index], frame)
        assert infos["goal"][index] == info["goal"]
        for action, (batch, rewards, *_, together) in zip(actions, stepped, strict=True):
            frame, reward, *ends, info = one.step(action[index])
            np.testing.assert_array_equal(batch[index], frame)
            assert rewards[index] == reward
            assert together["success"][index] == info["success"]
            if any(ends):
                break
        one.close()


def resident_kb():
    """Return the memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def test_memory_is_flat(make, request):
    """Of the process; `pytest --full-matrix` plays 2,000 episodes."""
    env = make("all", max_steps=8)
    episodes = 2000 if request.config.getoption("--full-matrix") else 60

    def play(number):
        for _ in range(number):
            env.reset()
            for _ in range(8):
                env.step(env.expert_action() if env.steps_to_go() else env.actions.home)

    play(60)  # which fills the cache of screens
    before = resident_kb()
    play(episodes)
    grown_kb = resident_kb() - before
    print(f"{episodes} episodes, {grown_kb} kB")
    # A launcher of 5 pages has 215 kB, so that of each episode kept would be 13 MB or 430 MB.
    assert grown_kb < 8_000


def test_androids_own_variables_stay(make, monkeypatch):
    for name in ("ANDROID_HOME", "ANDROID_ADB_SERVER_PORT"):
        monkeypatch.setenv(name, "5038")
    make().reset()
    assert os.environ["ANDROID_HOME"] == os.environ["ANDROID_ADB_SERVER_PORT"] == "5038"


def test_androidenv_presses_home_by_adb(make):
    env = make()
    env.reset(seed=0)
    env.phone.app = ALL["clock"]
    button = AdbRequest.PressButton(button=AdbRequest.PressButton.HOME)
    env._android.execute_adb_call(AdbRequest(press_button=button))
    assert env.phone.app is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"apps": "few"}, "got 'few', expected one of"),
        ({"apps": ["clock"]}, "at least two different names"),
        ({"apps": ["clock", "clock"]}, "at least two different names"),
        ({"apps": ["clock", "files", "cloak"]}, r"got \['cloak'\], expected some of"),
        ({"apps": {"clock": "a.b", "mine": "c.d"}}, r"got \['mine'\], expected some of"),
        ({"num_pages": 0}, "num_pages: got 0, expected 1 to 10"),
        ({"num_pages": 11}, "num_pages: got 11, expected 1 to 10"),
        ({"apps": "diverse", "num_pages": 2}, "expected 3 to 50"),
        ({"taps": (8,)}, "taps: got"),
        ({"taps": (0, 4)}, "taps: got"),
        ({"scale": 0}, "scale: got 20 and 0"),
        ({"scale": 1.5}, "scale: got 20 and 1.5"),
        ({"max_steps": 0}, "max_steps, scale: got 0"),
        ({"max_steps": 2.5}, "max_steps, scale: got 2.5"),
    ],
)
def test_a_wrong_setting_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        Android(**settings)


def test_the_pages_hold_the_apps(make):
    for apps, pages in (("common", 2), ("diverse", 5), ("all", 5)):
        assert len(make(apps).phone.launcher.pages) == pages
    assert len(make(num_pages=1).phone.launcher.pages) == 1
    assert len(COMMON) + len(DIVERSE) == len(ALL) == 60
