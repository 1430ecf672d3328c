"""Labelled frames from a folder of images and a table."""

import csv
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from rllib_vlm_reward.errors import FrameError, LabelError
from rllib_vlm_reward.evaluation.image_table import check_columns, find_table
from rllib_vlm_reward.evaluation.images import read_image
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.settings import excerpt

__all__ = ["read_folder"]

_TABLES = ("metadata.csv", "labels.csv")
_NEEDED = ("file_name", "goal", "label")
_COLUMNS = (*_NEEDED, "episode", "step", "steps_to_go", "player")
_ONE_FRAME = ("file_name", "goal", "episode", "step")
_MOST_DIGITS = 18  # of an int64
_LABELS = {"true": True, "1": True, "false": False, "0": False}

T = TypeVar("T")
Rows: TypeAlias = list[tuple[int, dict[str, str]]]  # each with its line number, from 1


def read_folder(folder: Path, *, allow_outside: bool = False) -> LabelledFrames:
    """Read images and the table that labels them, in the layout of Hugging Face's ImageFolder.

    The table is ``metadata.csv`` or ``labels.csv``, with a header and one row for each frame.
    Its columns are ``file_name``, relative to the folder; ``goal``, the goal's text; ``label``,
    true, false, 1 or 0; and optionally ``episode``, ``step``, ``steps_to_go`` (a cell may be empty)
    and ``player``. Without ``episode``, every frame is an episode. Other columns are ignored, but a
    name that is almost one of these is an error.

    Args:
        folder: the folder with the table and the images, in any format that Pillow reads.
        allow_outside: also read images whose ``file_name`` leaves the folder (``../``, or an
            absolute path). A table that somebody else wrote could name any file.

    Raises:
        FileNotFoundError: there is no table.
        LabelError: there are two tables, the table is not UTF-8, a column is missing, misspelled
            or given twice, a row has more or fewer cells than the header, a cell has an unexpected
            value, an image has two rows for a goal or lies outside of the folder, or there is no
            row.
        FrameError: an image is missing or cannot be read, see :func:`.read_image`; or its size
            differs from the first one's.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "1.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
        >>> text = "file_name,goal,label\\n1.png,the red door is open,false\\n"
        >>> _ = (folder / "metadata.csv").write_text(text)
        >>> read_folder(folder).goals
        ('the red door is open',)
    """
    table = find_table(folder, _TABLES, _NEEDED)
    names, rows = _rows(table)
    _check_once(table, rows)
    images = _column(table, rows, "file_name", _ImageReader(folder, allow_outside))
    given = set(names)
    return LabelledFrames.of(
        images,
        _column(table, rows, "goal", _words),
        _column(table, rows, "label", _label),
        episodes=_column(table, rows, "episode", _words) if "episode" in given else None,
        steps=_column(table, rows, "step", _step) if "step" in given else None,
        steps_to_go=(
            _column(table, rows, "steps_to_go", _to_go) if "steps_to_go" in given else None
        ),
        player=_column(table, rows, "player", str) if "player" in given else "",
    )


def _rows(table: Path) -> tuple[list[str], Rows]:
    """Return the names of the columns, and the rows of the table."""
    reader = csv.reader(io.StringIO(_text(table), newline=""))
    try:
        names, rows = next(reader, []), []
        _check_names(table, names)
        for cells in reader:
            if len(cells) not in (0, len(names)):
                raise LabelError(
                    f"{table}, line {reader.line_num}: got {len(cells)} cells, expected "
                    f"{len(names)}, one for each column. Put a text that contains a comma into "
                    'double quotes, such as "the door, open".'
                )
            if cells:
                rows.append((reader.line_num, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise LabelError(
            f"{table}, line {reader.line_num}: cannot be read as CSV ({error}). Save it again as "
            '"CSV UTF-8".'
        ) from error
    if not rows:
        raise LabelError(
            f"{table}: got a header without rows, expected one row for each frame. Add rows."
        )
    return names, rows


def _text(table: Path) -> str:
    content = table.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LabelError(
            f"{table}, line {line}: got text that is not UTF-8. In a spreadsheet, save the table "
            'as "CSV UTF-8".'
        ) from error


def _check_names(table: Path, names: list[str]) -> None:
    check_columns(table, names, _COLUMNS)
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        separator = next((mark for mark in ";\t" if mark in "".join(names)), None)
        remedy = (
            f"The cells are separated by {separator!r}; separate them by commas."
            if separator
            else "Write a header, and separate columns by commas."
        )
        raise LabelError(
            f"{table}: got the columns {names}, expected {list(_NEEDED)}; {missing} are missing. "
            f"{remedy}"
        )


def _check_once(table: Path, rows: Rows) -> None:
    """Check that no image has two labels for a goal, or counts twice as two episodes."""
    seen: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        name, *others = (row.get(key, "").strip() for key in _ONE_FRAME)
        before = seen.setdefault((os.path.normpath(name), *others), line)
        if before != line:
            raise LabelError(
                f"{table}, line {line}: got {name!r} with the goal {others[0]!r} again, as in line "
                f"{before}, expected one row for an image and a goal. Remove one of them; if both "
                "are frames of an env, write their episodes and steps."
            )


class _ImageReader:
    """Reads the images of a folder, which must have one size, since they are scored in batches."""

    def __init__(self, folder: Path, allow_outside: bool) -> None:
        self._folder, self._allow_outside = folder, allow_outside
        self._size: tuple[int, ...] | None = None

    def __call__(self, cell: str) -> bytes:
        name = _words(cell)
        if not self._allow_outside and _leaves_folder(name):
            raise LabelError(
                f"got {name!r}, which lies outside of the folder, expected a path within it. Move "
                "the image there; or, if you trust the table, pass --allow-outside (in Python "
                "allow_outside=True)."
            )
        content, frame = read_image(self._folder / name)
        size = frame.shape[:2]
        self._size = self._size or size
        if size != self._size:
            raise FrameError(
                f"got {cell!r} with {size[1]} x {size[0]} pixels, expected "
                f"{self._size[1]} x {self._size[0]} as in the first image. Resize the images to "
                "one size."
            )
        return content


def _column(table: Path, rows: Rows, name: str, read: Callable[[str], T]) -> list[T]:
    cells = []
    for line, row in rows:
        try:
            cells.append(read(row[name].strip()))
        except (LabelError, FrameError) as error:
            raise type(error)(f"{table}, line {line}, {name}: {error}") from error
    return cells


def _leaves_folder(name: str) -> bool:
    # By name only: a link in the folder was put there by whoever has the folder.
    return os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir


def _words(cell: str) -> str:
    if not cell:
        raise LabelError("got an empty cell, expected text. Fill it, or remove the row.")
    return cell


def _label(cell: str) -> bool:
    if cell.lower() not in _LABELS:
        raise LabelError(f"got {excerpt(cell)}, expected one of {list(_LABELS)}. Correct it.")
    return _LABELS[cell.lower()]


def _step(cell: str) -> int:
    if not cell.isdecimal() or len(cell) > _MOST_DIGITS:
        raise LabelError(
            f"got {excerpt(cell)}, expected a whole number >= 0 of up to {_MOST_DIGITS} digits. "
            "Correct it."
        )
    return int(cell)


def _to_go(cell: str) -> float | None:
    try:
        steps = float(cell) if cell else None
    except ValueError:
        steps = math.nan
    if steps is not None and not steps >= 0:  # written so that NaN fails too
        raise LabelError(
            f"got {excerpt(cell)}, expected a number >= 0, inf, or an empty cell. Correct it."
        )
    return steps
