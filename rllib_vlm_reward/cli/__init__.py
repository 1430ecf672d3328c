"""The command line, ``rllib-vlm-reward``: one module for each command."""

import errno
import os
import sys
from typing import NoReturn

import pydantic
from rich.console import Console

from rllib_vlm_reward.cli import (
    bench,
    calibrate,
    collect,
    evaluate,
    landscape,
    play,
    relabel,
    score,
    train,
    train_clip,
)
from rllib_vlm_reward.cli.app import app
from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.settings import messages

__all__ = [
    "app",
    "bench",
    "calibrate",
    "collect",
    "evaluate",
    "landscape",
    "main",
    "play",
    "relabel",
    "score",
    "train",
    "train_clip",
]

EXPECTED = (
    *ERRORS,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, and the limit of a file's size
_UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS)  # paths that no program can write


def main() -> None:
    """Run the command line; print an error that the user can correct without a traceback."""
    # Import paths may name modules in the working directory, such as the user's env. Ray 2.60
    # passes the driver's path on to its workers.
    sys.path.insert(0, os.getcwd())
    sys.argv[1:] = map(_with_home, sys.argv[1:])
    _silence_pygame()
    # Else threads of torch that wait for each other spin. If something else takes one of two cores,
    # a learner's step then takes more than ten times as long (benchmarks/learner.py). OpenMP reads
    # this once, before torch is imported, and Ray's workers inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except pydantic.ValidationError as error:
        _fail("\n".join(messages(error)))
    except EXPECTED as error:
        _fail(_of_path(error) if isinstance(error, OSError) else str(error))
    except OSError as error:
        if error.errno in _UNUSABLE:
            _fail(_of_path(error))
        if error.errno not in _FULL:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        _fail(
            f"{where}{os.strerror(error.errno)}. Free space on the disk, or raise the quota. What "
            "was saved before is whole: train continues with --resume, and relabel if it is "
            "repeated."
        )


def _of_path(error: OSError) -> str:
    if error.filename is None:  # raised by this package
        return str(error)
    return f"{error.filename}: {error.strerror}. Check the path and its permissions."


def _with_home(word: str) -> str:
    """Replace a leading ~ by the home folder, which a shell does not do in ``--output=~/run``.

    Example:
        >>> _with_home("--output=~/run") == f"--output={os.path.expanduser('~')}/run"
        True
        >>> _with_home("vlm_reward.encoder=~/clip")
        'vlm_reward.encoder=~/clip'
    """
    option, equals, value = word.partition("=")
    if word.startswith("--") and value.startswith("~/"):
        return option + equals + os.path.expanduser(value)
    return os.path.expanduser(word) if word.startswith("~/") else word


def _silence_pygame() -> None:
    """Stop pygame, which draws gymnasium's classic control, from looking for missing devices.

    It would print errors about a missing sound card, and on Linux about a missing display.
    """
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def _fail(message: str) -> NoReturn:
    console = Console(stderr=True)
    console.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)
