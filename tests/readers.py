"""A reader of the docs, who runs a command of a page in the folder that holds the page's files."""

import os
import subprocess
import sys
from pathlib import Path

import fork_server


def run(program, *words, folder):
    """Run a program of the virtual environment; return its output.

    It runs in a process of its own, which finds the page's modules by the folder alone and starts
    its own Ray.

    Raises:
        AssertionError: it failed; with the end of what it wrote to stderr.
    """
    done = subprocess.run(
        [*fork_server.python(), str(Path(sys.executable).with_name(program)), *words],
        cwd=folder,
        env={key: it for key, it in os.environ.items() if key not in ("PYTHONPATH", "RAY_ADDRESS")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert not done.returncode, done.stderr[-3000:]
    return done.stdout
