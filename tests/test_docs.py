"""Every page of the docs, and the README, does what it shows."""

import re

import gymnasium as gym
import numpy as np
import pytest
from pages import PAGES, ROOT, code_of

import rllib_vlm_reward

# These have tests of their own, with few steps, in a folder of the reader's.
ELSEWHERE = {
    "from-env-to-sweep": "tests/test_how_to.py",
    "offline": "tests/offline/test_offline_page.py",
    "your-own-parts": "tests/test_your_own_parts.py",
    "your-own-world": "tests/test_your_own_world.py",
}

# One iteration of a tiny batch is trained, and one trial where a page tries several.
SIZES = re.compile(
    r'("?)train_batch_size_per_learner\1(=|: )\d+(, "?(?:minibatch_size|num_epochs)"?(=|: )\d+)*'
)
FEWER = {
    "grid_search([1e-3, 3e-4])": "grid_search([1e-3])",
    "num_samples=2": "num_samples=1",
    '"env_steps": 256': '"env_steps": 64',
    '"RN50/random"': '"small/random"',  # as random, and smaller
}


def tiny(sizes):
    quote, sign = sizes[1], sizes[2]
    small = {"train_batch_size_per_learner": 64, "minibatch_size": 32, "num_epochs": 1}
    return ", ".join(f"{quote}{key}{quote}{sign}{size}" for key, size in small.items())


def fewer(code):
    for much, little in FEWER.items():
        code = code.replace(much, little)
    return SIZES.sub(tiny, code)


OUTLINE = ROOT / "docs" / "your-own-env.md"  # what its reader has written is below
RUN = [page for page in PAGES if code_of(page, "python") and page.stem not in ELSEWHERE]
RUN.remove(OUTLINE)


def test_fewer_is_what_pages_say():
    code = "\n".join(text for page in RUN for text in code_of(page, "python"))
    assert all(much in code for much in FEWER)
    assert len(SIZES.findall(code)) == code.count("train_batch_size_per_learner") > 5


def test_pages_that_have_tests_of_their_own_have_them():
    assert set(ELSEWHERE) < {page.stem for page in PAGES}
    for page, file in ELSEWHERE.items():
        assert f'"{page}.md"' in (ROOT / file).read_text()


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_its_code_runs(page, cluster, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    code = fewer("\n".join(code_of(page, "python")))
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})


class MyRoom(gym.Env):
    """A room with a door, which is open after the second action."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, size, render_mode):
        self.render_mode = render_mode
        self._size, self._open = size, False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._open = False
        color = self.np_random.choice(["red", "blue"])
        return np.zeros(2, np.float32), {"goal": f"open the {color} door"}

    def step(self, action):
        self._open = bool(action)
        return np.ones(2, np.float32), 0.0, self._open, False, {"success": self._open}

    def render(self):
        shade = self.np_random.integers(0, 256, (self._size, self._size, 3), np.uint8)
        return shade // 2 + 127 * np.uint8(self._open)


def test_the_outline_runs_with_an_env_and_frames_of_the_readers(cluster, tiny_clip):
    code = "\n".join(code_of(OUTLINE, "python"))
    small = ".training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1)"
    for said, instead in {
        '"ViT-L-14-quickgelu/dfn2b"': repr(tiny_clip),  # which would be downloaded
        "\nreward = ": f"\nconfig{small}\nreward = ",
    }.items():
        assert code.count(said) == 1
        code = code.replace(said, instead)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    space = {"__name__": "__main__", "MyRoom": MyRoom, "my_frames": list(frames)}
    exec(compile(code, str(OUTLINE), "exec"), space)
    algorithm = space["algorithm"]
    try:
        assert algorithm.train()["env_runners"]["vlm_reward"]["frames"] >= 64
    finally:
        algorithm.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_links_to_exists(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert all((page.parent / link).exists() for link in links), links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_name_has_one_import(page):
    """What the docs use is public: a name of the package itself."""
    imported = re.findall(
        r"^ *from (rllib_vlm_reward[\w.]*) import (?:\(([^)]*)\)|(.*))",
        page.read_text(),
        re.MULTILINE,
    )
    for module, several, line in imported:
        assert module == "rllib_vlm_reward"
        names = re.findall(r"\w+", several or line)
        assert set(names) <= set(rllib_vlm_reward.__all__), page
