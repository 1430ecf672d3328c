"""Arguments that several commands share, and refusals that need no heavy import."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import find_config

__all__ = ["SHIPPED", "Assignments", "check_output", "config_path", "refuse_twice"]

SHIPPED = "A name such as quickstart means a config that ships with the package."
"""For the help of a CONFIG."""

Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A value in place of CONFIG's, as vlm_reward.threshold=0.6; the value is YAML. "
        "Repeat it for several.",
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
    """Refuse to replace what is there; an empty folder may become the output.

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
    """Refuse a value that is given more than once.

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
            raise typer.BadParameter(f"got {name} {value} twice, expected it once.")
