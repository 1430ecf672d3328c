"""The folder that relabelled episodes go to: whose rewards lie in it, and what is finished."""

import dataclasses
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.reward import changed
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.offline.units import COLUMN, Unit

__all__ = ["Folder", "Report", "UnitFile"]

MANIFEST = "relabel.json"
_GROUP_BYTES = 16 * 1024**2  # of a row group that is written
_KEY = b"rllib_vlm_reward"


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done to a unit; it is written into its file.

    Attributes:
        unit: name of its file.
        file_size: bytes of the recorded file.
        encoder: fingerprint of the weights.
        episodes: how many, chunks counted each.
        unfinished: how many of these neither terminated nor were truncated.
        steps: how many were rewarded.
        reward_sum: of these.
        fires: steps that the VLM paid for.
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
    """The output: a manifest of the reward's settings, and a file for each finished unit.

    Args:
        path: the folder; made if it does not exist.
        config: of the reward.
        goal: text of the one goal that is given to all episodes, if one is.

    Raises:
        FileExistsError: the folder holds something else.
        ConfigError: it holds the rewards of other settings.
    """

    def __init__(self, path: Path, config: VLMRewardConfig, goal: str | None) -> None:
        self.path = path
        settings = _settings(config, goal)
        manifest = path / MANIFEST
        if manifest.exists():
            _check_same(path, json.loads(manifest.read_text()), settings)
        elif path.exists() and (not path.is_dir() or _shown(path)):
            raise FileExistsError(
                f"output: {path} holds something else, expected an empty folder or one that "
                "relabel wrote. Give another."
            )
        path.mkdir(parents=True, exist_ok=True)
        fresh = manifest.with_name(f".{MANIFEST}.tmp")
        fresh.write_text(json.dumps(settings, indent=2) + "\n")
        fresh.rename(manifest)

    def finished(self, units: Sequence[Unit]) -> list[Report]:
        """Return what was done in earlier runs; what these left unfinished is removed.

        Raises:
            ConfigError: a file that is of none of the units, or of a unit that has changed since.
        """
        for stale in self.path.rglob(".*.tmp"):
            stale.unlink()
        known = {unit.name: unit for unit in units}
        reports = []
        for file in sorted(self.path.rglob("*.parquet")):
            name = file.relative_to(self.path).as_posix()
            report = _read_report(file)
            if report is None or name not in known or report.file_size != known[name].file_size:
                raise ConfigError(
                    f"output: {file} is not of this recording, or its recorded file has changed "
                    "since. Relabel each recording into a folder of its own."
                )
            reports.append(report)
        return reports


class UnitFile:
    """Writes a unit's episodes; the file has its name when it is complete, and not before.

    Args:
        folder: the output.
        unit: whose episodes they are.
    """

    def __init__(self, folder: Path, unit: Unit) -> None:
        self.unit = unit
        self._path = folder / unit.name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: after a lost connection Ray may let two actors work off one unit.
        self._fresh = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex}.tmp")
        self._schema = pyarrow.schema([(COLUMN, pyarrow.binary())])
        self._writer = pyarrow.parquet.ParquetWriter(self._fresh, self._schema)
        self._rows: list[bytes] = []
        self._size = 0

    def write(self, row: bytes) -> None:
        """Add an episode."""
        self._rows.append(row)
        self._size += len(row)
        if self._size > _GROUP_BYTES:
            self._flush()

    def close(self, report: Report) -> None:
        """Finish the file, with the report in its footer."""
        self._flush()
        self._writer.add_key_value_metadata({_KEY.decode(): json.dumps(dataclasses.asdict(report))})
        self._writer.close()
        os.replace(self._fresh, self._path)

    def abandon(self) -> None:
        """Remove what was written."""
        self._writer.close()
        self._fresh.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow.table({COLUMN: self._rows}, schema=self._schema))
            self._rows, self._size = [], 0


def _shown(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _settings(config: VLMRewardConfig, goal: str | None) -> dict[str, Any]:
    scorer = config.scorer.fingerprint
    return {**config.reward_settings, "goal": goal, "scorer": scorer}


def _check_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    differences = "; ".join(changed(before, now).values())
    if differences:
        raise ConfigError(
            f"output: {path} holds the rewards of other settings ({differences}). "
            "Give another folder, or restore them."
        )


def _read_report(file: Path) -> Report | None:
    written = (pyarrow.parquet.read_metadata(file).metadata or {}).get(_KEY)
    return None if written is None else Report(**json.loads(written))
