"""Every page of the docs, and the README, does what it shows."""

import re
from pathlib import Path

import pytest

import rllib_vlm_reward

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
# The first has an env and model of the reader's own; the other takes minutes, and is walked with
# few steps by tests/offline/test_offline_page.py.
UNRUNNABLE = {"your-own-env.md", "offline.md"}


def code_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


# One iteration of a tiny batch is trained, and one trial where a page tries several.
SIZES = re.compile(
    r'("?)train_batch_size_per_learner\1(=|: )\d+(, "?(?:minibatch_size|num_epochs)"?(=|: )\d+)*'
)
FEWER = {
    "grid_search([1e-3, 3e-4])": "grid_search([1e-3])",
    "num_samples=2": "num_samples=1",
    '"env_steps": 256': '"env_steps": 64',
}


def tiny(sizes):
    quote, sign = sizes[1], sizes[2]
    small = {"train_batch_size_per_learner": 64, "minibatch_size": 32, "num_epochs": 1}
    return ", ".join(f"{quote}{key}{quote}{sign}{size}" for key, size in small.items())


def fewer(code):
    for much, little in FEWER.items():
        code = code.replace(much, little)
    return SIZES.sub(tiny, code)


RUN = [page for page in PAGES if code_of(page) and page.name not in UNRUNNABLE]


def test_fewer_is_what_pages_say():
    code = "\n".join(code for page in RUN for code in code_of(page))
    assert all(much in code for much in FEWER)
    assert len(SIZES.findall(code)) == code.count("train_batch_size_per_learner") > 5


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_its_code_runs(page, cluster, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    code = fewer("\n".join(code_of(page)))
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})


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
