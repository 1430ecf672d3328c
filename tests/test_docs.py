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


RUN = [page for page in PAGES if code_of(page) and page.name not in UNRUNNABLE]


@pytest.mark.timeout(900)  # a page may train several times
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_its_code_runs(page, cluster, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    exec(compile("\n".join(code_of(page)), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_links_to_exists(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text())
    assert all((page.parent / link).exists() for link in links), links
