"""What tests of several folders ask for, and the order in which their files run.

A process is connected to one Ray at a time. So the files whose tests start Ray, or have it started
by what they test (``own_ray``, ``own_cluster``), come first, then those that share the session's
(``cluster``), and those without Ray last. pytest-xdist hands the files out in this order; each of
its processes has a session, and so a Ray, of its own.
"""

import functools
import gc
import importlib
import json
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as the command line does

import fork_server
import hypothesis
import open_clip
import painted
import pytest
import ray
import rays
import safetensors.torch
import torch
from red_pool import RedPool

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.envs.house.opengl import open_gl
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.policies.goal_code import goal_code_config
from rllib_vlm_reward.serving.pool import RewardPool


def open_android():
    """Import the phone's room, which does not work without its extra."""
    importlib.import_module("rllib_vlm_reward.envs.android")


def find_codes():
    """Look for the package that discrete codes of a goal need."""
    goal_code_config(4, {"goal_code": {"groups": 2, "codes": 2}})


# By the marker of the tests that need an extra: what raises a ConfigError where it is missing.
EXTRAS = {"android": open_android, "codes": find_codes, "house": open_gl}
# The page of the docs about an extra, where it has not the same name.
EXTRA_PAGES = {"codes": "goal-codes"}
SHARED_POOL = "shared"
RAYS = ("own_ray", "own_cluster", "cluster")

# How long an example takes depends on what runs beside it.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")
# Two threads wait for each other longer than they work on models this small.
torch.set_num_threads(1)

TINY_CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 56,
            "patch_size": 8,
            "width": 32,
            "layers": 2,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    },
}


def write_clip(folder, config):
    """Write a CLIP with seeded random weights in open_clip's folder layout; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(7)  # not that of `ARCH/random`, or nobody could tell them apart
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    safetensors.torch.save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return str(folder)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Folder of a 56-pixel ViT CLIP with random weights, loadable by ``CLIPEncoder.load``."""
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny", TINY_CLIP)


@pytest.fixture(scope="session")
def painted_config(tiny_clip):
    """Returns a function: the painted world's reward, with changes."""

    def make(**changes):
        given = {
            "encoder": tiny_clip,
            "goals": painted.GOALS,
            "head": {"kind": "softmax", "temperature": 0.3},
            "serving": {
                "num_cpus_per_actor": 1,
                "precision": "fp32",
            },  # whose scores hardly depend on the batch
        }
        return VLMRewardConfig(**given).model_copy(update=changes)

    return make


@pytest.fixture(scope="session")
def vlm_config(painted_config):
    """What ``painted_config`` is; a folder with another world has its own."""
    return painted_config


@pytest.fixture
def red_pool(monkeypatch):
    """A pool that every piece of this process finds under any name."""
    pool = RedPool()
    monkeypatch.setattr(RewardPool, "connect", lambda name, config, run="": pool)
    return pool


@pytest.fixture(scope="session")
def reader_folder(tmp_path_factory):
    """An empty folder whose modules the session's Ray finds, like those of a reader's project."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="session")
def cluster(reader_folder):
    """The session's Ray of 8 CPUs on paper, whose workers find what lies beside the tests."""
    rays.release()
    with rays.started(reader_folder, num_cpus=8, object_store_memory=500_000_000) as address:
        yield address


@pytest.fixture(scope="session")
def shared_pool(cluster, painted_config):
    """The session's pool, which outlives the algorithms that share it; its name."""
    pool = RewardPool.start(painted_config(), name=SHARED_POOL)
    yield pool.name
    pool.close()


@pytest.fixture(scope="module")
def own_ray():
    """Leave to start Ray, for a test or for the code that it tests; whoever starts it ends it."""
    with rays.may_start():
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_ray_is_started_unasked():
    """A Ray that a test starts by the way takes seconds, and runs beside the session's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", rays.unasked)
        yield


@pytest.fixture(scope="session", autouse=True)
def _processes_are_forked(request):
    if request.config.getoption("--fresh-processes"):
        yield
    else:
        with fork_server.serving():
            yield


@pytest.fixture(scope="session", autouse=True)
def _rllib_finds_a_caller_quickly():
    with pytest.MonkeyPatch.context() as patch:
        fork_server.find_callers_quickly(patch.setattr)
        yield


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_behind():
    """An actor that one file leaves running fails a later one, far from the cause."""
    yield
    if ray.is_initialized():
        rays.assert_clean(kept={f"{SHARED_POOL}/0"})


def pytest_addoption(parser):
    parser.addoption(
        "--full-matrix",
        action="store_true",
        help="the long forms: each algorithm by each road, not pairwise; thousands of steps and "
        "episodes in the house and on the phone",
    )
    parser.addoption(
        "--require-extras",
        action="store_true",
        help="a test fails, instead of being skipped, where an extra or system package is missing",
    )
    parser.addoption(
        "--chaos-seconds", type=float, default=4, help="how long tests/chaos kills a small run"
    )
    parser.addoption(
        "--fresh-processes", action="store_true", help="Ray and programs start as without tests"
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "ray: connects to Ray, or starts it")
    config.addinivalue_line("markers", "android: needs the extra [android]")
    config.addinivalue_line("markers", "codes: needs the extra [codes]")
    config.addinivalue_line("markers", "house: needs the extra [house] and OpenGL")
    if not config.getoption("--require-extras"):
        config.pluginmanager.register(SkipsAndroid())


class SkipsAndroid:
    """Skips the files of the phone, which nobody can import without its extra.

    A plugin also sees the doctests, which lie outside of this conftest's folder.
    """

    def pytest_collectstart(self, collector):
        path = collector.path
        if path and path.suffix == ".py" and path.parent.name == "android":
            try:
                open_android()
            except ConfigError as error:
                skip = functools.partial(pytest.skip, str(error), allow_module_level=True)
                collector.collect = skip


def pytest_runtest_setup(item):
    for name, opens in EXTRAS.items():
        if item.get_closest_marker(name):
            try:
                opens()
            except ConfigError as error:
                missing = pytest.fail if item.config.getoption("--require-extras") else pytest.skip
                missing(str(error))


@pytest.hookimpl(tryfirst=True)  # before -m reads the marks
def pytest_collection_modifyitems(items):
    turns = {item: _turn(item) for item in items}
    firsts = {}
    for item, turn in turns.items():
        for name in EXTRAS:
            page = EXTRA_PAGES.get(name, name)
            if item.path.name.startswith("test_doc") and item.nodeid.endswith(f"[{page}]"):
                item.add_marker(name)
        firsts[item.path] = min(turn, firsts.get(item.path, turn))
        if turn < len(RAYS):
            item.add_marker("ray")
    items.sort(key=lambda item: firsts[item.path])  # within a file they stay in order


def pytest_collection_finish():
    """Have no later collection of garbage look at what was imported, 0.5 s each time."""
    gc.collect()
    gc.freeze()


def _turn(item):
    """Return the place of the first of RAYS that a test asks for."""
    asked = getattr(item, "fixturenames", ())  # a doctest has none
    return next((turn for turn, name in enumerate(RAYS) if name in asked), len(RAYS))
