"""An evaluation on disk and in the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Column, Table

from rllib_vlm_reward.evaluation.evaluate import Assessment
from rllib_vlm_reward.evaluation.pictures import save_pictures
from rllib_vlm_reward.evaluation.report import page, shown
from rllib_vlm_reward.metrics.bootstrap import Interval

__all__ = ["save", "table"]

_SHOWN = {
    "average_precision": "AP",
    "recognised": "known",
    "missed_episodes": "missed",
    "false_positives": "FP/episode",
}
_WIDTH = 16


def save(
    folder: Path,
    assessments: Sequence[Assessment],
    *,
    command: str = "",
    missing: Sequence[str] = (),
) -> None:
    """Write ``evaluation.json``, ``report.html`` and the pictures.

    Args:
        folder: made if need be.
        assessments: the best first, see :func:`.evaluate`.
        command: what was typed, for the report.
        missing: names of contenders that were to be judged, too.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.evaluate import evaluate
        >>> from rllib_vlm_reward.evaluation.labelled import LabelledFrames, encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder), evaluate({"run": config}, frames))
        ...     sorted(path.name for path in Path(folder).iterdir())[:2]
        ['evaluation.json', 'goals.png']
    """
    told = {**_to_dict(assessments, command), "missing": [*missing]}
    content = json.dumps(told, indent=1, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(content + "\n")
    pictures = {name: folder / f"{name}.png" for name in save_pictures(folder, assessments)}
    report = page(assessments, pictures, command, missing)
    (folder / "report.html").write_text(report, encoding="utf-8")


def table(assessments: Sequence[Assessment]) -> Table:
    """Return the terminal's table: a line a contender."""
    heads = (Column(name, no_wrap=True) for name in ("verdict", *_SHOWN.values()))
    contender = Column("contender", overflow="fold", min_width=_WIDTH)
    found = Table(contender, *heads, box=box.SIMPLE, pad_edge=False)
    for each in assessments:
        cells = [shown(getattr(each.figures, name).value) for name in _SHOWN]
        cells[0] += _ends(each.figures.average_precision)
        found.add_row(each.name, each.verdict.kind, *cells)
    return found


def _ends(figure: Interval) -> str:
    return "" if figure.low != figure.low else f" ({figure.low:.2f}-{figure.high:.2f})"


def _to_dict(assessments: Sequence[Assessment], command: str) -> dict[str, Any]:
    frames = assessments[0].judged.frames
    return {
        "version": 1,
        "command": command,
        "frames": {
            "frames": len(frames),
            "episodes": len({*frames.episodes}),
            "successes": int(frames.labels.sum()),
            "goals": len({*frames.goals}),
            "players": sorted({*frames.players}),
        },
        "contenders": [each.to_dict() for each in assessments],
    }
