"""The house stands as docs/architecture.md draws it."""

import ast
import importlib
from pathlib import Path

import pytest

import rllib_vlm_reward

PACKAGE = Path(rllib_vlm_reward.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {
    "errors": set(),
    "import_path": {"errors"},
    "frames": {"errors"},
    "template": {"errors"},
    "goals": {"errors", "template"},
    "section": {"errors"},
    "settings": {"errors"},
    "grammar": {"errors", "section"},
    "goal_config": {"errors", "goals", "grammar", "section", "settings"},
    "serving_config": {"section"},
    "calibration": {"errors", "goals", "section", "settings"},
    "config": {"calibration", "goals", "goal_config", "section", "serving_config", "settings"},
    "curriculum": {"errors", "goals", "section"},
    "reward_model": {"errors", "frames", "goals", "config"},
    "serving": {"errors", "frames", "config", "reward_model"},
    "monitoring": {"errors", "frames", "config"},
    "connectors": {
        "errors",
        "import_path",
        "frames",
        "goals",
        "config",
        "curriculum",
        "reward_model",
        "serving",
        "monitoring",
    },
    "policies": {"errors"},
    "envs": {"errors", "frames", "goals"},
    "metrics": set(),
    "pretraining": {"errors", "frames", "goals", "envs", "metrics", "reward_model"},
    "plugin": {"errors", "config", "curriculum", "reward_model", "connectors"},
    "resources": {"config", "serving", "plugin"},
    "offline": {
        "errors",
        "frames",
        "section",
        "settings",
        "config",
        "connectors",
        "monitoring",
        "reward_model",
        "serving",
    },
    "run": {
        "errors",
        "frames",
        "section",
        "settings",
        "config",
        "curriculum",
        "serving",
        "connectors",
        "monitoring",
        "plugin",
    },
    "evaluation": {
        "errors",
        "frames",
        "goals",
        "config",
        "calibration",
        "connectors",
        "metrics",
        "reward_model",
        "run",
    },
    "sweep": {"errors", "monitoring", "resources", "run", "serving", "serving_config"},
    "bench": {
        "errors",
        "frames",
        "section",
        "config",
        "reward_model",
        "serving",
        "connectors",
        "monitoring",
        "run",
    },
    "cli": {
        "errors",
        "section",
        "config",
        "calibration",
        "run",
        "pretraining",
        "offline",
        "bench",
        "evaluation",
        "reward_model",
    },
}
LIBRARIES = {
    "open_clip": {"reward_model/encoder.py"},
    "ray": {
        "serving",
        "monitoring",
        "connectors",
        "policies",
        "plugin",
        "resources",
        "run",
        "sweep",
        "offline",
        "bench",
    },
    "ray.rllib": {
        "monitoring",
        "connectors",
        "policies",
        "plugin",
        "resources",
        "run",
        "sweep",
        "offline",
        "bench",
    },
    "torch": {"reward_model", "serving", "policies", "pretraining", "run", "bench"},
    "pydantic": {
        "section",
        "grammar",
        "goal_config",
        "serving_config",
        "calibration",
        "config",
        "run",
        "sweep",
        "bench",
        "cli",
    },
    "minigrid": {"envs", "pretraining"},
    "gymnasium": {"envs", "connectors", "plugin", "policies", "offline", "run"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = room_of(path)
    if room == "__init__":
        return
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("rllib_vlm_reward.")}
    assert rooms <= ROOMS[room] | {room}, f"{room} must not import {rooms - ROOMS[room] - {room}}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_stay_in_their_rooms(library):
    users = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name == library or name.startswith(f"{library}.") for name in imported(path))
    }
    foreign = {
        user
        for user in users
        if user not in LIBRARIES[library]
        and user.split("/")[0].removesuffix(".py") not in LIBRARIES[library]
    }
    assert users
    assert not foreign


def test_public_names_are_few_documented_and_importable():
    names = rllib_vlm_reward.__all__
    assert len(names) < 25
    for name in names:
        assert getattr(rllib_vlm_reward, name).__doc__, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_all_is_true(path):
    name = ".".join(("rllib_vlm_reward", *path.relative_to(PACKAGE).with_suffix("").parts))
    module = importlib.import_module(name.removesuffix(".__init__"))
    assert all(hasattr(module, public) for public in getattr(module, "__all__", ()))
