"""Arguments that several commands share, and checks that need no slow import."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import find_config

__all__ = [
    "SHIPPED",
    "Assignments",
    "check_ending",
    "check_output",
    "check_writable",
    "config_path",
    "refuse_twice",
]

SHIPPED = "A name such as quickstart means a config that ships with the package."
"""For the help of a CONFIG."""

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a value of CONFIG, such as vlm_reward.threshold=0.6. VALUE is YAML. "
        "Repeatable.",
    ),
]
"""``--set`` of a command that reads a run's YAML, for :meth:`.Experiment.from_file`."""


def config_path(given: str) -> Path:
    """Return the file of a CONFIG, which is a path or a shipped name: the argument's ``parser``.

    Raises:
        typer.BadParameter: there is no such file or name.

    Example:
        >>> config_path("quickstart").name
        'quickstart.yaml'
    """
    try:
        return find_config(given)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def check_output(path: Path, *, folder: bool = False) -> None:
    """Check that the output replaces nothing; an empty folder may become the output.

    Args:
        path: file or folder to write.
        folder: whether the command writes a folder.

    Raises:
        FileExistsError: the file exists, or the folder is not empty.
        NotADirectoryError: a file has the place of a folder on the way to the output.
        PermissionError: the output cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     check_output(Path(empty), folder=True)
        ...     check_output(Path(empty, "new.yaml"))
    """
    taken = any(path.iterdir()) if folder and os.path.isdir(path) else os.path.exists(path)
    if taken:
        raise FileExistsError(f"{path} exists already. Choose another --output, or remove it.")
    check_writable(path)


def check_ending(path: Path, ending: str) -> None:
    """Check that a picture's name ends as its format asks for; the libraries choose by the name.

    Args:
        path: file to write.
        ending: such as ``.gif``.

    Raises:
        typer.BadParameter: the path ends otherwise.

    Example:
        >>> check_ending(Path("agent.GIF"), ".gif")
    """
    if path.suffix.lower() != ending:
        raise typer.BadParameter(f"got {path}, expected a name that ends with {ending}. Rename it.")


def check_writable(path: Path) -> None:
    """Check that a file or folder can be created or changed at a path.

    Raises:
        FileNotFoundError: a link on the way to the path, or the path, leads to nothing.
        NotADirectoryError: a file has the place of a folder on the way to the path.
        PermissionError: the nearest folder that exists cannot be written.
        OSError: no file can have this path, such as one that is too long.
    """
    present = next(each for each in (path, *path.absolute().parents) if _is_there(each))
    if not os.path.exists(present):
        raise FileNotFoundError(
            f"{path}: {present} is a link to {os.readlink(present)}, where nothing is. Mount its "
            "disk, correct the link, or choose another path."
        )
    if present != path and not present.is_dir():
        raise NotADirectoryError(
            f"{path}: {present} is a file, expected a folder. Choose another path."
        )
    if not os.access(present, os.W_OK):
        raise PermissionError(
            f"{path}: {present} cannot be written. Change its permissions, or choose another path."
        )


def _is_there(path: Path) -> bool:
    """Return whether there is a file, a folder, or a link that may lead to nothing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def refuse_twice(name: str, values: Sequence[object]) -> None:
    """Check that no value is given twice.

    Args:
        name: name of the argument or option.
        values: all values that were given.

    Raises:
        typer.BadParameter: a value is given twice.

    Example:
        >>> refuse_twice("--encoder", ["small", "base"])
    """
    for value in values:
        if values.count(value) > 1:
            raise typer.BadParameter(f"got {name} {value} twice, expected it once. Remove one.")
