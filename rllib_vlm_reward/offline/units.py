"""The units of work: the row groups of the recorded files."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from rllib_vlm_reward.errors import ConfigError

__all__ = ["COLUMN", "Unit", "bundle", "find_units"]

COLUMN = "item"  # the column in which RLlib 2.60 stores an episode
# RLlib 2.60 writes up to 200 files at a time, so most files have a single episode. One such file
# would not fill a batch, so a task gets several units.
_BUNDLE_BYTES = 64 * 1024**2
_BUNDLE_UNITS = 64


@dataclasses.dataclass(frozen=True)
class Unit:
    """One row group, which is read and written as a whole.

    Attributes:
        source: path of the file, relative to the recording's folder.
        group: index of the row group in the file, from 0.
        rows: number of rows: episodes, or chunks of them.
        size: uncompressed size of the row group in bytes.
        file_size: size of the file in bytes, to detect a changed file.

    Example:
        >>> Unit("room/run-1/0.parquet", 2, rows=7, size=100, file_size=90).name
        'room/run-1/0.00002.parquet'
    """

    source: str
    group: int
    rows: int
    size: int
    file_size: int

    @property
    def name(self) -> str:
        """The path of the relabelled file, relative to the output folder."""
        return f"{self.source.removesuffix('.parquet')}.{self.group:05d}.parquet"


def find_units(recording: Path) -> list[Unit]:
    """Return the row groups of all parquet files in a folder, or of one file, sorted by path.

    Raises:
        FileNotFoundError: there is no parquet file.
        ConfigError: a file cannot be read or does not contain whole episodes, or no file has a row.
    """
    root = recording if recording.is_dir() else recording.parent
    files = sorted(recording.rglob("*.parquet")) if recording.is_dir() else [recording]
    files = [path for path in files if path.is_file() and not _is_hidden(path.relative_to(root))]
    if not files:
        raise FileNotFoundError(
            f"{recording}: got no parquet file, expected a folder into which RLlib recorded "
            "episodes. Record with config.offline_data(output=..., output_write_episodes=True)."
        )
    units = [unit for path in files for unit in _units_of(path, root)]
    if not any(unit.rows for unit in units):
        raise ConfigError(
            f"{recording}: got {len(files)} parquet files without a row, expected episodes. Record "
            "for longer, or with config.offline_data(output_write_remaining_data=True)."
        )
    return units


def bundle(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Group the units into bundles, one for each task, in their order."""
    bundled: list[Unit] = []
    for unit in units:
        size = sum(each.size for each in bundled)
        if bundled and (size + unit.size > _BUNDLE_BYTES or len(bundled) == _BUNDLE_UNITS):
            yield bundled
            bundled = []
        bundled.append(unit)
    if bundled:
        yield bundled


def _is_hidden(path: Path) -> bool:
    """Return whether Ray Data 2.60 ignores a file with this path."""
    return any(part.startswith((".", "_")) for part in path.parts)


def _units_of(path: Path, root: Path) -> list[Unit]:
    try:
        metadata = pyarrow.parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(
            f"{path}: cannot be read as parquet ({error}), perhaps because the recording was "
            "interrupted. Remove the file to relabel the other files."
        ) from error
    schema = metadata.schema.to_arrow_schema()
    kind = schema.field(COLUMN).type if COLUMN in schema.names else None
    if kind not in (pyarrow.binary(), pyarrow.large_binary()):
        raise ConfigError(
            f"{path}: got the columns {schema.names}, expected {COLUMN!r} with whole episodes. "
            "Record with config.offline_data(output=..., output_write_episodes=True): rows of "
            "single steps have no infos, and so no goal and no ground truth."
        )
    source, size = path.relative_to(root).as_posix(), path.stat().st_size
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return [
        Unit(source, index, group.num_rows, group.total_byte_size, size)
        for index, group in enumerate(groups)
    ]
