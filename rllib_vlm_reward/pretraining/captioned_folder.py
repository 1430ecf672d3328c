"""Captioned frames from a folder of images and a table."""

import csv
import functools
import hashlib
import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet
from pyarrow import ArrowException

from rllib_vlm_reward.errors import FrameError, LabelError
from rllib_vlm_reward.evaluation.image_table import check_columns, find_table
from rllib_vlm_reward.evaluation.images import read_image
from rllib_vlm_reward.files import reserve_file
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import Template, wordings
from rllib_vlm_reward.pretraining.captioned import CaptionedFrames, Family, Mask
from rllib_vlm_reward.pretraining.sources import Material, Report, Request

__all__ = ["FolderSource"]

TABLES = ("captions.csv", "captions.parquet")
NEEDED = ("file_name", "caption")
COLUMNS = (*NEEDED, "label", "family", "episode")
LABELS = {"true": True, "1": True, "": True, "false": False, "0": False}
FAMILY = "captions"
HELD_OUT = 0.2
"""The share of episodes that is scored on, and not trained on."""


class Row(NamedTuple):
    """A caption of an image: whether it holds, its family, and the episode of the image."""

    where: str
    file_name: str
    caption: str
    holds: bool
    family: str
    episode: str


class FolderSource:
    """Images and a table with what holds in each.

    The table is ``captions.csv`` or ``captions.parquet``, with a row for each caption of an image:
    ``file_name``, relative to the folder; ``caption``, a statement, see :func:`.wordings`; and
    optionally ``label``, true (also if empty) or false; ``family``, the captions that exclude each
    other; and ``episode``, since images of one episode resemble each other.

    All captions of a family that an image does not have are false for it, unless it has some with
    the label false: then those are false, and the others unclear. A family that an image does not
    mention is unclear.

    A fifth of the episodes is held out for the scores; without ``episode``, of the images.

    Args:
        folder: the folder.

    Raises:
        FileNotFoundError: there is no table.
        LabelError: there are two tables, the table cannot be read, a column or cell is missing, a
            column is misspelled, a label is unknown, an image is outside of the folder or has two
            episodes, or a caption of an image is both true and false.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> table = "file_name,caption\\n1.png,the door is open\\n"
        >>> _ = (folder / "captions.csv").write_text(table)
        >>> FolderSource(folder).families
        {'captions': Family(statements=('the door is open',), nothing=None)}
    """

    has_boxes = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        table = find_table(folder, TABLES, NEEDED)
        self._rows = [_row(where, cells) for where, cells in _cells(table)]
        self._files = [*dict.fromkeys(row.file_name for row in self._rows)]
        found: dict[str, dict[str, None]] = {}
        for row in self._rows:
            found.setdefault(row.family, {})[row.caption] = None
        self.families = {name: Family(tuple(sorted(texts))) for name, texts in found.items()}
        self._holds, self._fails = self._masks()
        names = self._episode_names()
        order = {name: number for number, name in enumerate(dict.fromkeys(names.values()))}
        self._episodes = np.array([order[names[file]] for file in self._files])

    def material(self, request: Request, work: Path, report: Report) -> Material:
        """Read all images, and split them by episode."""
        frames = self._read(work, report)
        held = self._held_out(request.seed)
        return Material(self._part(frames, ~held), self._part(frames, held))

    def held_out(self, request: Request, work: Path, report: Report) -> CaptionedFrames:
        """Read all images, and return those of the held-out episodes."""
        return self._part(self._read(work, report), self._held_out(request.seed))

    def facts(self) -> dict[str, Any]:
        """Return the folder's name and size, and the words of the model card."""
        name = self._folder.resolve().name
        return {
            "folder": name,
            "captions": len(self._rows),
            "digest": self._digest,
            "name": f"the images of `{name}`",
            "options": f"--folder {name}",
            "data": (
                f"{len(self._files):,} images with {len(self._rows):,} captions; four fifths of "
                "the episodes."
            ),
        }

    @functools.cached_property
    def _digest(self) -> str:
        """SHA-256 of the captions and of all images, so that changed data is noticed."""
        digest = hashlib.sha256(repr(self._rows).encode())
        for name in self._files:
            if not _leaves_folder(name) and (self._folder / name).is_file():
                digest.update((self._folder / name).read_bytes())
        return digest.hexdigest()

    def templates(self) -> Mapping[str, Template]:
        """Return none: a table has statements and no goals."""
        return {}

    def _episode_names(self) -> dict[str, str]:
        """Return the episode of each image; one without an episode is one."""
        found: dict[str, str] = {}
        for row in self._rows:
            before = found.setdefault(row.file_name, row.episode)
            if before != row.episode:
                raise LabelError(
                    f"{row.where}: got the episode {row.episode!r} for {row.file_name}, and "
                    f"{before!r} in a row before, expected one: its images are either learnt from "
                    "or held out. Correct the cell."
                )
        return {file: episode or file for file, episode in found.items()}

    def _masks(self) -> tuple[dict[str, Mask], dict[str, Mask]]:
        places = {file: place for place, file in enumerate(self._files)}
        shapes = {name: (len(places), len(f.statements)) for name, f in self.families.items()}
        holds = {name: np.zeros(shape, bool) for name, shape in shapes.items()}
        fails = {name: np.zeros(shape, bool) for name, shape in shapes.items()}
        columns = {
            name: {text: column for column, text in enumerate(family.statements)}
            for name, family in self.families.items()
        }
        for row in self._rows:
            cell = places[row.file_name], columns[row.family][row.caption]
            (holds if row.holds else fails)[row.family][cell] = True
            if holds[row.family][cell] and fails[row.family][cell]:
                raise LabelError(
                    f"{row.where}: got {row.caption!r} both true and false for {row.file_name}, "
                    "expected one of them. Remove a row."
                )
        for name, held in holds.items():
            alone = held.any(axis=1) & ~fails[name].any(axis=1)
            fails[name][alone] = ~held[alone]
        return holds, fails

    def _held_out(self, seed: int) -> Mask:
        episodes = np.unique(self._episodes)
        number = max(1, round(HELD_OUT * len(episodes)))
        chosen = np.random.default_rng(seed).permutation(episodes)[:number]
        return np.isin(self._episodes, chosen)

    def _read(self, work: Path, report: Report) -> Frames:
        """Read the images into a file, since they may be larger than the memory."""
        work.mkdir(parents=True, exist_ok=True)
        frames: Frames | None = None
        for place, name in enumerate(self._files):
            if _leaves_folder(name):
                raise LabelError(
                    f"{self._folder}: got {name!r}, which lies outside of the folder, expected a "
                    "path within it. Move the image there."
                )
            _, frame = read_image(self._folder / name)
            if frames is None:
                shape = (len(self._files), *frame.shape)
                reserve_file(work / "frames.bin", math.prod(shape))
                frames = np.memmap(work / "frames.bin", np.uint8, "r+", shape=shape)
            if frame.shape != frames.shape[1:]:
                height, width = frames.shape[1:3]
                raise FrameError(
                    f"{self._folder / name}: got {frame.shape[1]} x {frame.shape[0]} pixels, "
                    f"expected {width} x {height} as in the first image. Resize the images to one "
                    "size."
                )
            frames[place] = frame
            report("read images", place + 1, len(self._files))
        assert frames is not None, "a table has rows"
        return frames

    def _part(self, frames: Frames, kept: Mask) -> CaptionedFrames:
        return CaptionedFrames(
            frames[kept],
            self._episodes[kept],
            self.families,
            {name: mask[kept] for name, mask in self._holds.items()},
            {name: mask[kept] for name, mask in self._fails.items()},
        )


def _cells(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the cells of each row by column, and where the row is."""
    try:
        if table.suffix == ".parquet":
            rows = pyarrow.parquet.read_table(table).to_pylist()
            names = list(rows[0]) if rows else []
        else:
            reader = csv.DictReader(io.StringIO(table.read_text("utf-8-sig"), newline=""))
            rows, names = list(reader), list(reader.fieldnames or ())
    except (ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(
            f"{table}: cannot be read ({type(error).__name__}: {error}). Save it again, as CSV in "
            "UTF-8 or as Parquet."
        ) from error
    check_columns(table, names, COLUMNS)
    missing = [name for name in NEEDED if name not in names]
    if missing or not rows:
        raise LabelError(
            f"{table}: got the columns {names} and {len(rows)} rows, expected a row for each "
            f"caption with {list(NEEDED)}, and optionally {list(COLUMNS[2:])}. Add them."
        )
    for number, row in enumerate(rows, start=2 if table.suffix == ".csv" else 1):
        if None in row or any(isinstance(value, list) for value in row.values()):
            raise LabelError(
                f"{table}, row {number}: got more than one value in a cell, or more cells than "
                "columns, expected one caption in each row. Write a row for each caption, and put "
                "text with commas into double quotes."
            )
        cells = {name: row.get(name) for name in COLUMNS}
        yield f"{table}, row {number}", {n: "" if v is None else str(v) for n, v in cells.items()}


def _row(where: str, cells: Mapping[str, str]) -> Row:
    file_name, caption, label, family, episode = (cells[name].strip() for name in COLUMNS)
    if not file_name or not caption:
        raise LabelError(
            f"{where}: got {file_name!r} and {caption!r}, expected a file and its caption. Fill "
            "the cells, or remove the row."
        )
    if label.lower() not in LABELS:
        raise LabelError(
            f"{where}: got the label {label!r}, expected one of {list(LABELS)}. Correct it."
        )
    wordings(caption)
    file_name = os.path.normpath(file_name)  # else a file would be two images
    return Row(where, file_name, caption, LABELS[label.lower()], family or FAMILY, episode)


def _leaves_folder(name: str) -> bool:
    return os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir
