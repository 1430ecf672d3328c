"""Every page of the docs does what it shows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
# The first has an env and model of the reader's own; the other takes minutes, and is walked with
# few steps by tests/offline/test_offline_page.py.
UNRUNNABLE = {"your-own-env.md", "offline.md"}


def code_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


# One iteration of a tiny batch is trained, and one trial where a page tries several.
FEWER = {
    r"(train_batch_size_per_learner\W+)\d+": r"\g<1>64",
    r"(minibatch_size\W+)\d+": r"\g<1>32",
    r"grid_search\(\[1e-3, 3e-4\]\)": "grid_search([1e-3])",
    r"num_samples=2": "num_samples=1",
    r'("env_steps": )256': r"\g<1>64",
}


def fewer(code):
    for much, little in FEWER.items():
        code = re.sub(much, little, code)
    return code


RUN = [page for page in PAGES if code_of(page) and page.name not in UNRUNNABLE]


def test_fewer_is_what_pages_say():
    code = "\n".join(code for page in RUN for code in code_of(page))
    assert all(re.search(much, code) for much in FEWER)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_its_code_runs(page, cluster, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    code = fewer("\n".join(code_of(page)))
    exec(compile(code, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_links_to_exists(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert all((page.parent / link).exists() for link in links), links
