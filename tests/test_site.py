"""The documentation site has every public name and every page; `.ci/run` builds it."""

import re
from pathlib import Path

import yaml

import rllib_vlm_reward

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"commands.md", "files/CHANGELOG.md", "files/CONTRIBUTING.md"}  # by docs/pages.py


def pages_of(entry):
    if isinstance(entry, str):
        return {entry}
    return set().union(*map(pages_of, entry.values() if isinstance(entry, dict) else entry))


def test_every_page_is_reached_from_the_navigation():
    settings = (ROOT / "mkdocs.yml").read_text()
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert pages_of(yaml.safe_load(settings)["nav"]) == there | MADE


def test_the_reference_has_every_public_name():
    text = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    names = set(re.findall(r"^::: rllib_vlm_reward(?:\.\w+)*\.(\w+)$", text, re.MULTILINE))
    assert set(rllib_vlm_reward.__all__) <= names
