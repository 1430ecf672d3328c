"""The mutations of ``.ci/mutants``, which takes an hour or more to run, fit the present source."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_mutation_has_one_place():
    command = [sys.executable, ROOT / ".ci" / "mutants", "--list"]
    listed = subprocess.run(command, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) > 30
