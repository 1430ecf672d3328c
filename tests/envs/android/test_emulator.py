"""The way to an emulator: AndroidEnv's own, with a double at its end; and what stands in it."""

import math
import socket
import time

import numpy as np
import pytest
from emulator_double import SCALE, EmulatorDouble

from rllib_vlm_reward.envs.android import emulator as room
from rllib_vlm_reward.envs.android.apps import COMMON
from rllib_vlm_reward.envs.android.emulator import Emulator
from rllib_vlm_reward.envs.android.env import Android
from rllib_vlm_reward.envs.android.plan import shortest_plan
from rllib_vlm_reward.errors import ConfigError


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    return EmulatorDouble(tuple(COMMON.values()), tmp_path_factory.mktemp("emulator"))


@pytest.fixture(scope="module")
def emulated(double):
    """The env on the double."""
    with double.running() as settings:
        env = Android(emulator=settings)
        yield env
        env.close()


@pytest.fixture
def sdk(tmp_path):
    """The folder of an SDK whose adb does nothing."""
    adb = tmp_path / "platform-tools" / "adb"
    adb.parent.mkdir()
    adb.write_text("#!/bin/sh\n")
    adb.chmod(0o755)
    return tmp_path


def test_spaces_are_those_of_the_drawn_phone(emulated):
    drawn = Android()
    assert emulated.action_space == drawn.action_space
    assert emulated.observation_space == drawn.observation_space
    drawn.close()


def test_an_app_is_opened_by_the_same_actions_and_adb_says_so(emulated, double):
    for goal in ("open the clock app", "open the maps app", "open the photos app"):
        frame, info = emulated.reset(seed=0, options={"goal": goal})
        assert (info["success"], double.phone.app, double.phone.page) == (False, None, 0)
        app = COMMON[goal.split()[2]]
        for action in shortest_plan(double.phone, app, emulated.actions):
            assert not info["success"]
            assert emulated.captions().true == {
                "open": {"screenshot of the home screen on android"}
            }
            frame, reward, terminated, _, info = emulated.step(action)
        assert (reward, terminated, info["success"]) == (1.0, True, True)
        assert info["activity"] == double.phone.activity == app.activity
        assert emulated.captions().true == {"open": {f"screenshot of {app.name} on android"}}
        large = double.phone.get_screenshot().astype(float)
        mean = large.reshape(160, SCALE, 90, SCALE, 3).mean((1, 3))
        assert np.abs(frame - mean).max() < 1


def test_home_and_swipes_arrive(emulated, double):
    emulated.reset(seed=0)
    emulated.step(emulated.actions.swipe("left"))
    assert double.phone.page == 1
    emulated.step(emulated.actions.swipe("right"))
    assert double.phone.page == 0
    double.phone.app = COMMON["clock"]
    for name, scroll in (("up", 1), ("down", 0)):
        emulated.step(emulated.actions.swipe(name))
        assert double.phone.scroll == scroll
    *_, info = emulated.step(emulated.actions.home)
    assert double.phone.app is None
    assert "launcher" in info["activity"]
    port = emulated._android._simulator._config.emulator_launcher.adb_port
    assert f"-s emulator-{port - 1} shell input keyevent KEYCODE_HOME" in double.commands[-2]


def test_touches_are_not_drawn_into_the_frames(emulated, double):
    for setting in ("show_touches", "pointer_location"):
        assert any(f"settings put system {setting} 0" in line for line in double.commands)


def test_where_the_icons_are_is_not_known(emulated):
    emulated.reset(seed=0)
    assert math.isnan(emulated.steps_to_go())
    with pytest.raises(ConfigError, match="got an emulator, expected a drawn phone"):
        emulated.expert_action()


def test_an_app_of_the_users_own_is_known_by_its_package(double):
    with double.running() as settings:
        env = Android({"mine": COMMON["clock"].package, "maps": "org.maps"}, emulator=settings)
        _, info = env.reset(options={"goal": "open the mine app"})
        assert not info["success"]
        double.phone.app = COMMON["clock"]
        *_, info = env.step(env.actions.swipe("left"))
        assert info["success"]
        assert env.captions().true == {"open": {"screenshot of mine on android"}}
        double.phone.app = COMMON["photos"]
        env.step(env.actions.swipe("left"))
        true, false, unclear = env.captions()
        assert true == false == {"open": set()}, "it is none of the env's apps"
        assert len(unclear["open"]) == 3
        env.close()


def test_adb_that_fails_is_an_error(emulated, double):
    emulated.reset(seed=0)
    adb = double.adb_path.read_text()
    double.adb_path.write_text("#!/bin/sh\nexit 0\n")
    try:
        with pytest.raises(
            RuntimeError, match=r"adb: get_current_activity failed: .*`adb devices`"
        ):
            emulated.step(0)
    finally:
        double.adb_path.write_text(adb)


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def test_a_refused_connection_is_a_quick_error_with_the_remedy(sdk):
    port = free_port()
    start = time.monotonic()
    with pytest.raises(ConfigError, match=f"adb_port {port} of localhost does not answer") as error:
        Android(
            emulator={
                "adb_port": port,
                "console_port": 5554,
                "grpc_port": 8554,
                "sdk_root": str(sdk),
            }
        )
    assert time.monotonic() - start < 3
    assert f"`emulator -avd NAME -ports 5554,{port} -grpc 8554`" in str(error.value)
    assert "ssh -L" in str(error.value)
    assert "draws a phone" in str(error.value)


def test_a_port_without_grpc_is_a_quick_error(sdk, monkeypatch):
    monkeypatch.setattr(room, "_ANSWER_S", 0.5)
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        settings = Emulator(adb_port=port, console_port=5554, grpc_port=port, sdk_root=str(sdk))
        with pytest.raises(ConfigError, match=f"grpc_port {port} .*no gRPC there"):
            settings.check()


def test_a_missing_adb_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    ports = {"adb_port": 5555, "console_port": 5554, "grpc_port": 8554}
    for where in ({"sdk_root": str(tmp_path)}, {"adb_path": str(tmp_path / "adb")}):
        with pytest.raises(
            ConfigError, match=r"expected Android's adb\. Install the SDK's platform"
        ):
            Android(emulator={**ports, **where})


def test_an_avd_needs_its_files_and_kvm(sdk, monkeypatch):
    settings = {"avd_name": "pixel", "sdk_root": str(sdk), "avd_home": str(sdk / "avd")}
    monkeypatch.setattr(room, "_KVM", sdk / "kvm")
    monkeypatch.setattr(room.sys, "platform", "linux")
    needed = (
        (sdk / "emulator" / "emulator", "Install the SDK's emulator"),
        (sdk / "avd" / "pixel.ini", "avdmanager create avd"),
        (sdk / "kvm", "with KVM"),
    )
    for path, remedy in needed:
        with pytest.raises(ConfigError, match=f"{path} does not exist.*{remedy}"):
            Android(emulator=settings)
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    config = Emulator.read(settings).config()
    assert config.emulator_launcher.avd_name == "pixel"
    assert config.emulator_launcher.emulator_path == str(sdk / "emulator" / "emulator")
    assert config.adb_controller.adb_path == str(sdk / "platform-tools" / "adb")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected all three ports"),
        ({"adb_port": 5555, "grpc_port": 8554}, "console_port=0"),
        ({"adb_port": 5555, "console_port": 5554, "grpc_port": 8554, "avd_name": "pixel"}, "or an"),
        ({"adb_port": 5555, "avd_name": "pixel"}, "expected all three ports"),
        ({"avd": "pixel"}, r"got the keys \['avd'\], expected some of \['adb_port'"),
    ],
)
def test_wrong_settings_are_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        Android(emulator=settings)


@pytest.mark.parametrize("setting", [{"labels": True}, {"num_pages": 3}])
def test_settings_of_the_drawn_phone_are_an_error_beside_it(setting):
    with pytest.raises(ConfigError, match="settings of the drawn phone"):
        Android(emulator={"avd_name": "pixel"}, **setting)
