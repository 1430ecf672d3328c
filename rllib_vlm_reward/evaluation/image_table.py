"""The table beside images: which file it is, and the names of its columns."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rllib_vlm_reward.errors import LabelError

__all__ = ["check_columns", "find_table"]

_ALIKE = 0.75


def find_table(folder: Path, names: Sequence[str], needed: Sequence[str]) -> Path:
    """Return the table of a folder of images.

    Args:
        folder: the folder.
        names: the names that the table may have.
        needed: the columns that it must have, for the error message.

    Raises:
        FileNotFoundError: there is no table.
        LabelError: there are two, of which one would not be read.
    """
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"{folder}: got no {' or '.join(names)}, expected one with the columns {[*needed]}. "
            "Write it, or pass the folder that holds it."
        )
    if len(found) > 1:
        raise LabelError(
            f"{folder}: got {' and '.join(table.name for table in found)}, expected one table. "
            "Remove the other, or join them."
        )
    return found[0]


def check_columns(table: Path, names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a column that is almost one of those that are read, or that is given twice.

    Args:
        table: the file, for the error message.
        names: the names of its columns.
        known: the columns that are read.

    Raises:
        LabelError: a column has nearly the name of one that is read and not there, or the names of
            two differ at most in case and spaces.

    Example:
        >>> check_columns(Path("frames.parquet"), ["label", "Episode"], ["label", "episode"])
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.LabelError: frames.parquet: got the column 'Episode', which is \
ignored. Did you mean 'episode'?
    """
    for name in names:
        near = difflib.get_close_matches(name.strip().lower(), known, n=1, cutoff=_ALIKE)
        if near and near[0] not in names:
            raise LabelError(
                f"{table}: got the column {name!r}, which is ignored. Did you mean {near[0]!r}?"
            )
    plain = [name.strip().lower() for name in names]
    twice = [name for name in known if plain.count(name) > 1]
    if twice:
        raise LabelError(
            f"{table}: got the columns {[*names]}, in which {twice} occur more than once, expected "
            "each column once. Remove or rename one."
        )
