"""OpenGL: what is missing is named, and nothing is printed, loaded late or too bright."""

import importlib
import importlib.util
import subprocess
import sys
import types

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.envs.house import opengl
from rllib_vlm_reward.envs.house.opengl import OpenGL, open_gl
from rllib_vlm_reward.envs.house.renderer import AMBIENT, DIFFUSE, Renderer
from rllib_vlm_reward.envs.house.things import COLORS, KINDS
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run.experiment import Experiment

DRAWS = pytest.mark.house


@pytest.fixture
def missing(monkeypatch):
    """Returns a function: modules that cannot be imported, for the next context that is opened."""

    def without(names, error):
        load = importlib.import_module

        def imported(name, *args):
            if name in names:
                raise error
            return types.SimpleNamespace(options={}) if name == "pyglet" else load(name, *args)

        monkeypatch.setattr(importlib, "import_module", imported)
        monkeypatch.setattr(opengl, "open_gl", OpenGL)
        monkeypatch.setattr("rllib_vlm_reward.envs.house.renderer.open_gl", OpenGL)

    return without


def test_without_the_extra_an_error_says_what_to_install(missing):
    missing({"pyglet"}, ModuleNotFoundError("No module named 'pyglet'", name="pyglet"))
    with pytest.raises(ConfigError, match=r"'pyglet' is not installed.*rllib-vlm-reward\[house\]"):
        gym.make("rllib_vlm_reward/House-v0")


@pytest.mark.parametrize("library", ["GL", "EGL", "GLU"])
def test_without_a_system_library_an_error_names_the_packages(missing, library):
    missing({"pyglet.gl"}, ImportError(f'Library "{library}" not found.'))
    with pytest.raises(
        ConfigError, match=f'"{library}" not found.*libgl1 libglu1-mesa libegl1 lib'
    ):
        gym.make("rllib_vlm_reward/HouseRoom-v0")


def test_a_run_that_names_the_house_fails_before_ray_is_started(missing):
    missing({"pyglet"}, ModuleNotFoundError("No module named 'pyglet'", name="pyglet"))
    experiment = Experiment.from_yaml("""
    environment: {env: rllib_vlm_reward/House-v0}
    vlm_reward: {encoder: small, goals: ["go near the {duckie|cone}"], frames: {source: obs}}
    stop: {env_steps: 1}
    """)
    assert isinstance(experiment.vlm_reward, VLMRewardConfig)
    with pytest.raises(ConfigError, match=r'pip install "rllib-vlm-reward\[house\]".*libegl1'):
        experiment.to_algorithm_config()


def test_the_core_imports_no_miniworld():
    """In a process of its own, with the package's own `__init__` left out, which takes seconds."""
    code = (
        "import sys, types, importlib.util; package = types.ModuleType('rllib_vlm_reward');"
        "package.__path__ = [sys.argv[1]]; sys.modules['rllib_vlm_reward'] = package;"
        "import rllib_vlm_reward.envs.house.opengl, rllib_vlm_reward.envs.registration as r;"
        "r.register_envs(); print([m for m in ('pyglet', 'miniworld') if m in sys.modules])"
    )
    folder = str(importlib.import_module("rllib_vlm_reward").__path__[0])
    ran = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
    assert ran.stdout == "[]\n", ran.stderr


@DRAWS
def test_opening_prints_nothing(capfd):
    OpenGL().buffer(48)
    assert capfd.readouterr() == ("", "")


@DRAWS
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="torch has no triton")
def test_torch_makes_an_optimizer_in_the_process_that_draws():
    """torch imports triton for it, and triton's LLVM crashes if Mesa's was loaded before."""
    code = (
        "from rllib_vlm_reward.envs.house.opengl import open_gl; open_gl();"
        "import torch; torch.optim.Adam([torch.nn.Parameter(torch.ones(1))]); print('made')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "made\n"), ran.stderr


@DRAWS
def test_everything_is_loaded_when_it_is_opened(hall, monkeypatch):
    opened = open_gl()
    assert opened.kinds.keys() == KINDS.keys()

    def refuse(*args, **kwargs):
        raise AssertionError("a texture or a mesh is loaded late")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(opened, "_compile", refuse)
    renderer = Renderer(32)
    places = {name.replace(" ", "_"): (1.0, 0.0) for name in KINDS}
    assert renderer.draw(hall(**places)).shape == (32, 32, 3)


@DRAWS
def test_another_gl_user_does_not_disturb(hall):
    """MiniWorld's own envs have windows of their own, and so other contexts."""
    renderer, scene = Renderer(64), hall(duckie=(1.0, 0.0))
    frame = renderer.draw(scene)
    pyglet = importlib.import_module("pyglet")
    window = pyglet.window.Window(width=1, height=1, visible=False)
    window.switch_to()
    np.testing.assert_array_equal(renderer.draw(scene), frame)
    window.close()


@DRAWS
@pytest.mark.parametrize("shape", ["ball", "box", "key"])
@pytest.mark.parametrize("color", COLORS)
def test_a_thing_has_the_colour_of_its_name(hall, shape, color):
    """Without GL_NORMALIZE a key is too bright, since its mesh is scaled down."""
    renderer, scene = Renderer(128), hall(**{f"{color}_{shape}": (0.9, 0.0)})
    frame = renderer.draw(scene)
    shown = frame[(frame != renderer.draw(scene, without=[0])).any(axis=-1)]
    seen = np.median(shown, axis=0)
    named = np.array(COLORS[color])
    assert seen @ named / np.linalg.norm(seen) / np.linalg.norm(named) > 0.985
    brightest = 255 * np.minimum((AMBIENT + DIFFUSE) * named, 1)
    assert (seen <= brightest + 2).all()
    assert seen.max() > AMBIENT * 255 * named.max() * 0.9
    nearest = min(COLORS, key=lambda name: np.linalg.norm(seen - unit(seen, COLORS[name])))
    assert nearest == color


def unit(seen, color):
    """Return a colour as bright as the one that is seen."""
    return np.array(color) * np.linalg.norm(seen) / np.linalg.norm(color)
