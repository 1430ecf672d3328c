"""A reader of the docs, who runs a command of a page in the folder that holds the page's files."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fork_server
import pytest
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app


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


@contextlib.contextmanager
def working_in(folder, files):
    """Within it this process works in a folder that holds nothing but these files; yields it."""
    for present in Path(folder).iterdir():
        if present.is_dir():
            shutil.rmtree(present)
        else:
            present.unlink()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(folder))
        patch.syspath_prepend(folder)
        yield folder


def run_here(*words):
    """Run a command in this process, on the session's Ray; return its output.

    It takes seconds less than :func:`run`. This process works in the reader's folder.

    Raises:
        AssertionError: it failed; with its output.
    """
    done = CliRunner().invoke(app, words)
    assert not done.exit_code, (done.output, done.exception)
    return done.output
