"""The output folder of relabelled episodes: its settings, and its finished units."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.reward import changed
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.files import remove_unfinished, replaced_file, write_text
from rllib_vlm_reward.offline.units import COLUMN, Unit

__all__ = ["Folder", "Report", "UnitFile"]

MANIFEST = "relabel.json"
_GROUP_BYTES = 16 * 1024**2  # size of a row group in the output
_KEY = b"rllib_vlm_reward"


@dataclasses.dataclass(frozen=True)
class Report:
    """The numbers of a finished unit, which are stored in its file.

    Attributes:
        unit: name of the unit's file.
        file_size: size of the recorded file in bytes.
        encoder: fingerprint of the encoder's weights.
        episodes: number of episodes; each chunk counts.
        unfinished: number of these that neither terminated nor were truncated.
        steps: number of steps with a reward.
        reward_sum: sum of the rewards.
        fires: number of steps with a VLM reward above 0.
    """

    unit: str
    file_size: int
    encoder: str
    episodes: int
    unfinished: int
    steps: int
    reward_sum: float
    fires: int


class Folder:
    """The output folder: a file with the reward's settings, and a file for each finished unit.

    Args:
        path: the folder; created if it does not exist.
        config: the reward.
        goal: text of the goal for all episodes; None keeps the recorded goals.

    Raises:
        FileExistsError: the folder contains other files.
        ConfigError: the folder contains rewards of other settings, or none that can be read.
    """

    def __init__(self, path: Path, config: VLMRewardConfig, goal: str | None) -> None:
        self.path = path
        settings = _settings(config, goal)
        manifest = path / MANIFEST
        if manifest.exists():
            _check_same(path, _read_manifest(manifest), settings)
        elif path.exists() and (not path.is_dir() or _visible(path)):
            raise FileExistsError(
                f"output: {path} contains something else, expected an empty folder or one that "
                "relabel wrote. Choose another folder."
            )
        path.mkdir(parents=True, exist_ok=True)
        write_text(manifest, json.dumps(settings, indent=2) + "\n")

    def finished(self, units: Sequence[Unit]) -> list[Report]:
        """Return the reports of the units that earlier runs finished; remove unfinished files.

        Raises:
            ConfigError: a file is damaged or belongs to none of the units, or the recorded file has
                changed.
        """
        remove_unfinished(self.path)
        by_name = {unit.name: unit for unit in units}
        reports = []
        for file in sorted(self.path.rglob("*.parquet")):
            name = file.relative_to(self.path).as_posix()
            report = _read_report(file)
            unit = by_name.get(name)
            if report is None or unit is None or report.file_size != unit.file_size:
                raise ConfigError(
                    f"output: {file} does not belong to this recording, or the recorded file has "
                    "changed since. Relabel each recording into a separate folder."
                )
            reports.append(report)
        return reports


class UnitFile:
    """Writes the episodes of a unit; the file gets its final name only when it is complete.

    Args:
        folder: the output folder.
        unit: the unit.
    """

    def __init__(self, folder: Path, unit: Unit) -> None:
        self.unit = unit
        self._schema = pyarrow.schema([(COLUMN, pyarrow.binary())])
        # After a lost connection two actors may write one unit, each to a file of its own.
        self._file = contextlib.ExitStack()
        fresh = self._file.enter_context(replaced_file(folder / unit.name))
        try:
            self._writer = pyarrow.parquet.ParquetWriter(fresh, self._schema)
        except OSError as error:  # it writes the first bytes at once, and the disk may be full
            self._file.__exit__(type(error), error, error.__traceback__)
            raise
        self._rows: list[bytes] = []
        self._size = 0

    def write(self, row: bytes) -> None:
        """Add an episode."""
        self._rows.append(row)
        self._size += len(row)
        if self._size > _GROUP_BYTES:
            self._flush()

    def close(self, report: Report) -> None:
        """Finish the file; the report goes into its footer."""
        self._flush()
        self._writer.add_key_value_metadata({_KEY.decode(): json.dumps(dataclasses.asdict(report))})
        self._writer.close()
        self._file.close()

    def abandon(self, error: BaseException) -> None:
        """Remove the file, if it is unfinished, because of an error."""
        with contextlib.suppress(OSError):  # it writes the footer, and the disk may be full
            self._writer.close()
        self._file.__exit__(type(error), error, error.__traceback__)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow.table({COLUMN: self._rows}, schema=self._schema))
            self._rows, self._size = [], 0


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _settings(config: VLMRewardConfig, goal: str | None) -> dict[str, Any]:
    scorer = " ".join(config.rater.keys)
    return {**config.reward_settings, "goal": goal, "scorer": scorer}


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    differences = "; ".join(changed(before, now).values())
    if differences:
        raise ConfigError(
            f"output: {path} contains rewards of other settings ({differences}), expected the same "
            "settings. Choose another folder, or restore the old settings."
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"output: {path} cannot be read ({error}), expected the settings that relabel wrote. "
            "Remove the folder and relabel again, or choose another folder."
        ) from error


def _read_report(file: Path) -> Report | None:
    try:
        written = (pyarrow.parquet.read_metadata(file).metadata or {}).get(_KEY)
        return None if written is None else Report(**json.loads(written))
    except (pyarrow.ArrowException, ValueError, TypeError) as error:
        raise ConfigError(
            f"output: {file} is damaged ({error}), expected a file that relabel finished. Remove "
            "it, and repeat the command: only its episodes are relabelled again."
        ) from error
