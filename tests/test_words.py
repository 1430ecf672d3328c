"""Texts use the field's terms: words and names that only this project used do not come back."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app

ROOT = Path(__file__).parent.parent
PLACES = (
    "rllib_vlm_reward",
    "benchmarks",
    "configs",
    "docs",
    "tune_experiments",
    "CHANGELOG.md",
    "README.md",
)
SUFFIXES = {".css", ".html", ".json", ".md", ".py", ".sh", ".yaml", ".yml"}
WORDS = {"told", "tells", "calm", "mute", "heir", "judged", "watched", "contender", "economy"}
WORDS |= {"courier", "contenders", "couriers", "heirs"}
NAMES = {
    line
    for line in (Path(__file__).parent / "old_names.txt").read_text().splitlines()
    if not line.startswith("#")
}
COMMANDS = typer.main.get_command(app).commands


def found(text):
    """Return the words of the list in a text, also as parts of snake_case and CamelCase names."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)
    return {part for part in parts if part.lower() in WORDS}


def code_of(path):
    """Return what may name a class: Python files, and the code in Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return text
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))


def old_names(text):
    """Return the classes and modules of the list that code names."""
    classes = {name for name in NAMES if "/" not in name}
    modules = {name: re.escape(name).replace("/", "[./]") for name in NAMES if "/" in name}
    named = classes & {word.lstrip("_") for word in re.findall(r"\w+", text)}
    return named | {name for name, pattern in modules.items() if re.search(rf"\b{pattern}\b", text)}


def files():
    for place in PLACES:
        path = ROOT / place
        yield from [path] if path.is_file() else sorted(path.rglob("*"))


TEXTS = [path for path in files() if path.suffix in SUFFIXES]


@pytest.mark.parametrize("path", TEXTS, ids=[str(path.relative_to(ROOT)) for path in TEXTS])
def test_a_file_has_none_of_them(path):
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    assert {number: found(line) for number, line in lines if found(line)} == {}
    assert old_names(code_of(path)) == set()


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_none_of_them(command):
    ran = CliRunner().invoke(app, [*([command] if command else []), "--help"])
    assert ran.exit_code == 0
    assert found(ran.output) == set()


def test_the_search_finds_parts_of_names():
    assert found("class ToldEnv") == {"Told"}
    assert found("test_an_heir_is_not_theirs") == {"heir"}
    assert found("TELLS threshold, commute, their, judgedness") == {"TELLS"}
    assert old_names("from rllib_vlm_reward.serving.courier import _Courier") == {
        "serving/courier",
        "Courier",
    }
    assert old_names("serving/linked.py, Links, evaluation/judged.py") == {"evaluation/judged"}
