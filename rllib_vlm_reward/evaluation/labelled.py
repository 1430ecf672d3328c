"""Frames with goals and ground truth, in memory and as Parquet."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.parquet

from rllib_vlm_reward.errors import FrameError, LabelError
from rllib_vlm_reward.evaluation.image_table import check_columns
from rllib_vlm_reward.evaluation.images import decode
from rllib_vlm_reward.files import replaced_file
from rllib_vlm_reward.frames import Frames

__all__ = ["FRAMES_AT_ONCE", "LabelledFrames", "check_labels"]

FRAMES_AT_ONCE = 256
"""Number of frames that are decoded and encoded together; it bounds the memory they need."""

_COLUMNS: dict[str, pyarrow.DataType] = {
    "image": pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    "goal": pyarrow.string(),
    "label": pyarrow.bool_(),
    "episode": pyarrow.string(),
    "step": pyarrow.int64(),
    "steps_to_go": pyarrow.float32(),
    "player": pyarrow.string(),
}
_NEEDED = ("image", "goal", "label")
_REAL = (int, float, np.integer, np.floating)
# With this entry Hugging Face's datasets decodes the column.
_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}


@dataclasses.dataclass(frozen=True)
class LabelledFrames:
    """N frames, each with one goal and whether the frame shows that goal.

    Attributes:
        images: each frame as an encoded image (PNG, JPEG), RGB.
        goals: each frame's goal text.
        labels: whether the frame shows its goal, bool ``[N]``.
        episodes: name of each frame's episode; a frame without one is an episode by itself.
        steps: the number of the episode's step that the frame follows, int64 ``[N]``.
        steps_to_go: an oracle's steps to success, float32 ``[N]``; NaN where unknown.
        players: who played: ``random``, ``expert``, or the folder of a run.

    Raises:
        LabelError: there is no frame, the attributes differ in length, labels are not boolean, or
            a step or a number of steps to success is negative.

    Example:
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> black = encode(np.zeros((8, 8, 3), np.uint8))
        >>> frames = LabelledFrames.of([black, black], ["lift", "lift"], [True, False])
        >>> len(frames), frames.frames([0]).shape
        (2, (1, 8, 8, 3))
    """

    images: tuple[bytes, ...]
    goals: tuple[str, ...]
    labels: npt.NDArray[np.bool_]
    episodes: tuple[str, ...]
    steps: npt.NDArray[np.int64]
    steps_to_go: npt.NDArray[np.float32]
    players: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _FIELDS}
        if len(set(lengths.values())) > 1 or not self.images:
            raise LabelError(
                f"labelled frames: got the lengths {lengths}, expected the same length for all, at "
                "least 1. Pass one value for each frame."
            )
        if self.labels.dtype != np.bool_:  # as indices, 0 and 1 would choose other frames
            raise LabelError(
                f"labelled frames: got labels of {self.labels.dtype}, expected bool. Make the "
                "frames with LabelledFrames.of, which takes 0 and 1 too."
            )
        for name in ("steps", "steps_to_go"):
            wrong = np.flatnonzero(getattr(self, name) < 0)
            if len(wrong):
                raise LabelError(
                    f"labelled frames: got {name} {getattr(self, name)[wrong[0]]} in row "
                    f"{wrong[0]}, expected 0 or more. Correct {len(wrong)} rows."
                )

    @classmethod
    def of(
        cls,
        images: Iterable[bytes],
        goals: Iterable[str],
        labels: Iterable[bool],
        *,
        episodes: Iterable[str] | None = None,
        steps: Iterable[int] | None = None,
        steps_to_go: Iterable[float | None] | None = None,
        player: str | Iterable[str] = "",
    ) -> "LabelledFrames":
        """Return labelled frames from plain sequences, which the class describes.

        Raises:
            LabelError: a label is none of True, False, 1 and 0; a step is no whole number; or see
                the class.
        """
        images = tuple(images)
        number = len(images)
        to_go = [None] * number if steps_to_go is None else steps_to_go
        return cls(
            images,
            tuple(goals),
            _checked([*labels]),
            tuple(map(str, range(number)) if episodes is None else episodes),
            _whole([0] * number if steps is None else [*steps]),
            np.array([np.nan if each is None else each for each in to_go], np.float32),
            (player,) * number if isinstance(player, str) else tuple(player),
        )

    @classmethod
    def join(cls, parts: Sequence["LabelledFrames"]) -> "LabelledFrames":
        """Return the frames of all parts; frames with the same episode name stay one episode."""
        joined: dict[str, Any] = {}
        for name in _FIELDS:
            values = [getattr(part, name) for part in parts]
            arrays = isinstance(values[0], np.ndarray)
            joined[name] = np.concatenate(values) if arrays else tuple(itertools.chain(*values))
        return cls(**joined)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: npt.ArrayLike) -> "LabelledFrames":
        """Return the frames at row indices, in their order, or those where a mask is true."""
        chosen = np.arange(len(self))[np.asarray(rows)]
        taken: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            array = isinstance(value, np.ndarray)
            taken[name] = value[chosen] if array else tuple(value[row] for row in chosen)
        return LabelledFrames(**taken)

    def frames(self, rows: Iterable[int]) -> Frames:
        """Decode the frames at row indices, which must have one size: uint8 ``[B, H, W, 3]``.

        Raises:
            FrameError: an image cannot be read, or its size differs from the first one's.
        """
        decoded = [
            decode(self.images[row], f"labelled frames: the image of row {row}") for row in rows
        ]
        for frame in decoded:
            if frame.shape != decoded[0].shape:
                raise FrameError(
                    f"labelled frames: got frames of {decoded[0].shape[:2]} and {frame.shape[:2]} "
                    "pixels, expected one size. Resize them."
                )
        return np.stack(decoded)

    def batches(
        self, size: int = FRAMES_AT_ONCE, *, rows: npt.NDArray[np.intp] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.intp], Frames]]:
        """Yield (rows, frames) for all rows, or the given ones, in batches of ``size`` or fewer."""
        rows = np.arange(len(self)) if rows is None else rows
        for begin in range(0, len(rows), size):
            part = rows[begin : begin + size]
            yield part, self.frames(part)

    @property
    def episode_indices(self) -> npt.NDArray[np.intp]:
        """Each frame's episode as a number, ``[N]``."""
        return np.unique(np.array(self.episodes), return_inverse=True)[1]

    def save(self, path: Path) -> None:
        """Write Parquet, one row for each frame; Hugging Face's ``datasets`` reads the images."""
        table = pyarrow.table(
            {
                "image": [{"bytes": image, "path": None} for image in self.images],
                "goal": self.goals,
                "label": self.labels,
                "episode": self.episodes,
                "step": self.steps,
                "steps_to_go": pyarrow.array(self.steps_to_go, from_pandas=True),
                "player": self.players,
            },
            schema=pyarrow.schema(list(_COLUMNS.items()), {b"huggingface": json.dumps(_FEATURES)}),
        )
        with replaced_file(path) as fresh:
            pyarrow.parquet.write_table(table, fresh)

    @classmethod
    def load(cls, path: Path) -> "LabelledFrames":
        """Read what :meth:`save` wrote, or any Parquet with ``image``, ``goal`` and ``label``.

        Raises:
            FileNotFoundError: the file does not exist.
            LabelError: a column is missing, misspelled, of another type, or has empty cells; or a
                label is none of true, false, 1 and 0.
        """
        if path.is_dir():
            raise LabelError(
                f"labelled frames: {path} is a folder, expected a Parquet file. Make one of a "
                f"folder of images with `rllib-vlm-reward collect --folder {path} --output FILE`."
            )
        if not path.exists():
            raise FileNotFoundError(
                f"labelled frames: {path} does not exist. `rllib-vlm-reward collect` writes one."
            )
        table = _read(path)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        images = [image["bytes"] for image in columns["image"]]
        if None in images:
            raise LabelError(
                f"{path}: row {images.index(None)} has no bytes in 'image', expected the content "
                "of an image file. Write the images into the file, not only their paths."
            )
        try:
            return cls.of(
                images,
                columns["goal"],
                columns["label"],
                episodes=columns.get("episode"),
                steps=columns.get("step"),
                steps_to_go=columns.get("steps_to_go"),
                player=columns.get("player", ""),
            )
        except LabelError as error:
            raise LabelError(f"{path}: {error}") from error


def check_labels(frames: LabelledFrames) -> None:
    """Check that there are both successes and other frames: a measurement needs both.

    Raises:
        LabelError: every frame shows its goal, or none does.

    Example:
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> black = encode(np.zeros((8, 8, 3), np.uint8))
        >>> check_labels(LabelledFrames.of([black], ["lift"], [False]))
        Traceback (most recent call last):
        ...
        rllib_vlm_reward.errors.LabelError: labelled frames: got 0 successes among 1 frames, \
expected some of both. Collect more, or with another player: expert, the folder of a run that \
succeeds.
    """
    successes = int(frames.labels.sum())
    if successes in (0, len(frames)):
        wanted = ["random"] if successes else ["expert", "the folder of a run that succeeds"]
        others = ", ".join(player for player in wanted if player not in frames.players)
        raise LabelError(
            f"labelled frames: got {successes} successes among {len(frames)} frames, expected "
            f"some of both. Collect more{others and f', or with another player: {others}'}."
        )


_FIELDS = tuple(field.name for field in dataclasses.fields(LabelledFrames))


def _checked(labels: list[Any]) -> npt.NDArray[np.bool_]:
    """Return labels as bool ``[N]``; NumPy alone would take 2, -1, 0.3 and NaN for True."""
    wrong = [row for row, label in enumerate(labels) if label not in (0, 1)]
    if wrong:
        raise LabelError(
            f"labelled frames: got the label {labels[wrong[0]]!r} in row {wrong[0]}, expected "
            f"True, False, 1 or 0. Correct {len(wrong)} rows, or choose from which value on a "
            "frame shows its goal."
        )
    return np.array(labels, np.bool_)


def _whole(steps: list[Any]) -> npt.NDArray[np.int64]:
    """Return steps as int64 ``[N]``; NumPy alone would take 1.5 for 1."""
    wrong = [step for step in steps if not isinstance(step, _REAL) or step % 1]
    if wrong:
        raise LabelError(
            f"labelled frames: got the step {wrong[0]!r}, expected a whole number. Correct "
            f"{len(wrong)} rows."
        )
    return np.array(steps, np.int64)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _read(path: Path) -> pyarrow.Table:
    try:
        table = pyarrow.parquet.read_table(path)
        table.validate(full=True)  # else a damaged text is found only when it is converted
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system; Arrow's own errors about damaged files have no number
        raise LabelError(
            f"{path}: cannot be read as Parquet ({_first_line(error)}). Pass a file that `collect` "
            "wrote."
        ) from error
    check_columns(path, table.column_names, tuple(_COLUMNS))
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise LabelError(
            f"{path}: got the columns {table.column_names}, expected {list(_COLUMNS)}, of which "
            f"{list(_NEEDED)} are required. Add {missing}."
        )
    table = table.select([name for name in _COLUMNS if name in table.column_names])
    for name in table.column_names:
        kind = _COLUMNS[name]
        if name == "label" and not pyarrow.types.is_string(table[name].type):
            kind = table[name].type  # Arrow would cast 2 to True; LabelledFrames.of checks numbers
        try:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
        except pyarrow.ArrowException as error:
            raise LabelError(
                f"{path}: the column {name!r} has the type {table[name].type}, expected "
                f"{_COLUMNS[name]} ({_first_line(error)}). Convert it."
            ) from error
        if name != "steps_to_go" and table[name].null_count:
            raise LabelError(
                f"{path}: {table[name].null_count} rows have an empty {name!r}, expected a value "
                "in every row. Fill them in, or remove these rows."
            )
    return table
