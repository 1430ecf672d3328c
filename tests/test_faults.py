"""docs/faults.md names tests that are there, and has a row for each fault."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| if"))
]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_row_has_an_input_an_outcome_and_a_test():
    assert len(ROWS) > 100
    for row in ROWS:
        assert len(row) == 3, row
        assert all(row), row
        assert re.fullmatch(rf"{TEST.pattern}( {TEST.pattern})*", row[2]), row


def test_every_test_that_is_named_is_there():
    defined = {}
    for path, name in TEST.findall(PAGE):
        if path not in defined:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            defined[path] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in defined[path], f"{path}::{name}"


def test_every_file_that_is_named_is_there():
    for path in re.findall(r"`(tests/[\w/]+\.py)", PAGE):
        assert (ROOT / path).is_file(), path


def test_each_row_stands_once():
    inputs = [(row[0], row[2]) for row in ROWS]
    assert len({*inputs}) == len(inputs)


def test_every_case_is_read_by_a_test():
    tests = [path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/test_*.py")]
    kinds = ("folders", "tables", "yaml")
    cases = [path for kind in kinds for path in (ROOT / "tests" / "cases" / kind).iterdir()]
    assert len(cases) > 20
    for case in cases:
        named = re.compile(f'"({case.name}|{case.stem})"')
        assert any(named.search(text) for text in tests), case
