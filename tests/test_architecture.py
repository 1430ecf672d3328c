"""The package is built as docs/architecture.md draws it."""

import ast
import graphlib
import importlib
import re
from pathlib import Path

import pytest

import rllib_vlm_reward
from rllib_vlm_reward.errors import ConfigError

PACKAGE = Path(rllib_vlm_reward.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {
    "errors": set(),
    "files": set(),
    "freed_memory": set(),
    "frames": {"errors"},
    "warnings": set(),
    "settings": {"errors"},
    "goals": {"errors", "settings"},
    "reward_model": {"files", "errors", "frames", "goals", "settings", "warnings"},
    "config": {"files", "errors", "goals", "reward_model", "settings"},
    "curriculum": {"errors", "goals", "settings"},
    "serving": {"errors", "frames", "freed_memory", "config", "goals", "reward_model"},
    "monitoring": {"errors", "frames", "config"},
    "connectors": {
        "errors",
        "settings",
        "frames",
        "goals",
        "config",
        "curriculum",
        "reward_model",
        "serving",
        "monitoring",
        "policies",
    },
    "policies": {"errors", "settings"},
    "envs": {"errors", "frames", "goals"},
    "metrics": {"errors"},
    "rllib_settings": {"errors"},
    "pretraining": {
        "files",
        "errors",
        "frames",
        "settings",
        "goals",
        "envs",
        "metrics",
        "reward_model",
        "evaluation",  # which reads images
    },
    "replay": {"errors", "warnings", "settings", "config", "monitoring", "connectors"},
    "plugin": {
        "errors",
        "config",
        "curriculum",
        "reward_model",
        "connectors",
        "policies",
        "replay",
        "rllib_settings",
        "warnings",
    },
    "offline": {
        "files",
        "errors",
        "frames",
        "settings",
        "config",
        "connectors",
        "monitoring",
        "reward_model",
        "serving",
    },
    "run": {
        "files",
        "freed_memory",
        "errors",
        "frames",
        "settings",
        "config",
        "curriculum",
        "monitoring",
        "serving",
        "connectors",
        "policies",
        "plugin",
        "rllib_settings",
    },
    "evaluation": {
        "warnings",
        "files",
        "errors",
        "frames",
        "goals",
        "settings",
        "config",
        "connectors",
        "metrics",
        "reward_model",
        "run",
    },
    "sweep": {
        "files",
        "freed_memory",
        "errors",
        "config",
        "connectors",
        "monitoring",
        "plugin",
        "run",
        "serving",
    },
    "bench": {
        "files",
        "errors",
        "frames",
        "settings",
        "config",
        "monitoring",
        "reward_model",
        "serving",
        "connectors",
        "plugin",
        "run",
    },
    "cli": {
        "files",
        "errors",
        "settings",
        "goals",
        "config",
        "run",
        "pretraining",
        "offline",
        "bench",
        "evaluation",
        "reward_model",
    },
}
WITH_RLLIB = {
    "monitoring",
    "connectors",
    "policies",
    "replay",
    "plugin",
    "rllib_settings",
    "run",
    "sweep",
    "offline",
    "bench",
}
LIBRARIES = {
    "open_clip": {
        "reward_model/clip.py",
        "reward_model/fetching.py",
        "reward_model/patches.py",
    },
    "ray": {*WITH_RLLIB, "serving"},
    "ray.rllib": WITH_RLLIB,
    "torch": {
        "reward_model",
        "serving",
        "connectors/preflight.py",  # which tries the policy
        "policies",
        "pretraining",
        "run",
        "bench",
    },
    "pydantic": {
        "settings",
        "goals",
        "reward_model",
        "config",
        "policies",
        "run",
        "sweep",
        "bench",
        "cli",
    },
    "android_env": {"envs"},
    "minigrid": {"envs"},
    "gymnasium": {"envs", "pretraining", "connectors", "plugin", "policies", "offline", "run"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(path):
    return str(path.relative_to(PACKAGE))


IMPORTS = {path: set(imported(path)) for path in FILES}


def test_no_two_test_files_share_a_name():
    """pytest imports them by their names alone."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(set(names)) == len(names)


def test_imports_are_absolute():
    assert not [(name_of(path), it) for path in FILES for it in IMPORTS[path] if it[0] == "."]


def test_imports_run_one_way():
    """`__init__.py` of the package alone may import every room."""
    wrong = [
        f"{name_of(path)} imports {name}"
        for path in FILES
        if (room := room_of(path)) != "__init__"
        for name in IMPORTS[path]
        if name.startswith("rllib_vlm_reward.")
        if name.split(".")[1] not in ROOMS[room] | {room}
    ]
    assert not wrong


def test_the_rooms_form_no_circle():
    graphlib.TopologicalSorter(ROOMS).prepare()
    assert set(ROOMS) == {room_of(path) for path in FILES} - {"__init__"}


def test_libraries_stay_in_their_rooms():
    wrong, used = [], set()
    for path in FILES:
        for name in IMPORTS[path]:
            for library, rooms in LIBRARIES.items():
                if f"{name}.".startswith(f"{library}."):
                    used.add(library)
                    if not {name_of(path), room_of(path)} & rooms:
                        wrong.append(f"{name_of(path)} imports {name}")
    assert not wrong
    assert used == set(LIBRARIES)


def test_a_package_that_lists_its_modules_lists_them_all():
    wrong = {}
    for path in FILES:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        listed = set(re.findall(r":mod:`(\w+)`", text))
        if path.name == "__init__.py" and listed:
            modules = {it.stem for it in path.parent.glob("*.py")} - {"__init__"}
            modules |= {it.parent.name for it in path.parent.glob("*/__init__.py")}
            wrong |= {name_of(path): listed ^ modules} if listed != modules else {}
    assert not wrong


def test_public_names_are_documented_and_importable():
    names = rllib_vlm_reward.__all__
    for name in names:
        assert getattr(rllib_vlm_reward, name).__doc__, name


def test_every_all_is_true(pytestconfig):
    wrong, lacking = [], set()
    for path in FILES:
        name = ".".join(("rllib_vlm_reward", *path.relative_to(PACKAGE).with_suffix("").parts))
        try:
            module = importlib.import_module(name.removesuffix(".__init__"))
        except ConfigError as error:
            lacking.add(str(error))
            continue
        public = getattr(module, "__all__", ())
        wrong += [f"{name}.{it}" for it in public if not hasattr(module, it)]
    assert not wrong
    if lacking:
        required = pytestconfig.getoption("--require-extras")
        (pytest.fail if required else pytest.skip)("; ".join(sorted(lacking)))
