"""Checks of arguments that several commands share; nothing heavy is imported."""

from collections.abc import Sequence
from pathlib import Path

import typer

__all__ = ["check_output", "refuse_twice"]


def check_output(path: Path, *, folder: bool = False) -> None:
    """Refuse an output that exists; an empty folder is accepted.

    Args:
        path: file or folder of the output.
        folder: whether the command writes a folder.

    Raises:
        FileExistsError: the file exists, or the folder holds something.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as empty:
        ...     check_output(Path(empty), folder=True)
        ...     check_output(Path(empty, "new.yaml"))
    """
    taken = any(path.iterdir()) if folder and path.is_dir() else path.exists()
    if taken:
        raise FileExistsError(f"{path} exists. Choose another --output, or remove it.")


def refuse_twice(name: str, values: Sequence[object]) -> None:
    """Refuse a value that is given more than once, since it would be used only once.

    Args:
        name: name of the argument or option.
        values: all that were given.

    Raises:
        typer.BadParameter: one of them comes again.

    Example:
        >>> refuse_twice("--encoder", ["small", "base"])
    """
    for value in values:
        if values.count(value) > 1:
            raise typer.BadParameter(f"got {name} {value} twice, expected each once.")
