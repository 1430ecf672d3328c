"""What an evaluation leaves: an HTML page, a JSON file, and the terminal's table."""

import base64
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from rich import box
from rich.console import Group
from rich.table import Column, Table

from rllib_vlm_reward.evaluation.evaluate import Assessment
from rllib_vlm_reward.evaluation.figures import title_of
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.reward_charts import CHARTS, save_charts
from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames
from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.metrics.bootstrap import Interval

__all__ = [
    "Mistake",
    "data_uri",
    "described",
    "false_negatives",
    "false_positives",
    "page",
    "save",
    "shown",
    "tables",
]

_SIDE = 224
_SHOWN = ("average_precision", "goal_accuracy", "missed_episodes", "false_positives")
_WIDTH, _IN_A_TABLE = 16, 4


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A frame whose score is too high, or too low.

    Attributes:
        frame: uint8 ``[H, W, 3]``.
        goal: the goal that the frame was scored against.
        score: the frame's score.
        episode: name of the frame's episode.
        step: the number of the step that the frame follows.
        fires: whether the reward is paid.
    """

    frame: Frames
    goal: str
    score: float
    episode: str
    step: int
    fires: bool


def false_positives(scored: ScoredFrames, most: int = 12) -> list[Mistake]:
    """Return the frames without success that score highest, the highest first; none twice.

    Example:
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> from rllib_vlm_reward.evaluation.scored_frames import score_labelled
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> black = encode(np.zeros((8, 8, 3), np.uint8))
        >>> frames = LabelledFrames.of([black] * 3, ["a ball"] * 3, [True, False, False])
        >>> len(false_positives(score_labelled(config, frames)))
        1
    """
    return _first(scored, np.argsort(-scored.scores, kind="stable"), success=False, most=most)


def false_negatives(scored: ScoredFrames, most: int = 12) -> list[Mistake]:
    """Return the successes that score lowest, the lowest first; none twice."""
    return _first(scored, np.argsort(scored.scores, kind="stable"), success=True, most=most)


def _first(
    scored: ScoredFrames, order: Iterable[int], *, success: bool, most: int
) -> list[Mistake]:
    frames = scored.frames
    found: dict[tuple[str, bytes], int] = {}
    for row in order:
        if len(found) == most:
            break
        if frames.labels[row] == success:
            found.setdefault((frames.goals[row], frames.images[row]), int(row))
    return [
        Mistake(
            frame=frames.frames([row])[0],
            goal=frames.goals[row],
            score=float(scored.scores[row]),
            episode=frames.episodes[row],
            step=int(frames.steps[row]),
            fires=bool(scored.scores[row] > scored.threshold),
        )
        for row in found.values()
    ]


def save(
    folder: Path,
    assessments: Sequence[Assessment],
    *,
    command: str = "",
    missing: Sequence[str] = (),
) -> None:
    """Write ``evaluation.json``, ``report.html`` and the charts.

    Args:
        folder: made if need be.
        assessments: the best first, see :func:`.evaluate`.
        command: the command line, for the report.
        missing: names of candidates that could not be scored.

    Raises:
        ConfigError: a user's metric fails.

    Example:
        >>> import tempfile
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.evaluate import evaluate
        >>> from rllib_vlm_reward.evaluation.images import encode
        >>> config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
        >>> pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in (0, 255)]
        >>> frames = LabelledFrames.of(pixels, ["a ball", "a key"], [True, False])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder), evaluate({"run": config}, frames))
        ...     sorted(path.name for path in Path(folder).iterdir())[:2]
        ['evaluation.json', 'goals.png']
    """
    found = {**_to_dict(assessments, command), "missing": [*missing]}
    content = json.dumps(found, indent=1, allow_nan=False)
    write_text(folder / "evaluation.json", content + "\n")
    charts = {name: folder / f"{name}.png" for name in save_charts(folder, assessments)}
    report = page(assessments, charts, command, missing)
    write_text(folder / "report.html", report)


def tables(assessments: Sequence[Assessment]) -> Group:
    """Return the terminal's tables, a row for each candidate: figures, then user's metrics."""
    found = _table("verdict", *map(title_of, _SHOWN))
    for each in assessments:
        cells = [shown(each.figures[name].value) for name in _SHOWN]
        cells[0] += _ends(each.figures["average_precision"])
        found.add_row(each.name, each.verdict.kind, *cells)
    paths = [*assessments[0].metrics]
    more = []
    for part in (paths[at : at + _IN_A_TABLE] for at in range(0, len(paths), _IN_A_TABLE)):
        more.append(_table(*map(title_of, part)))
        for each in assessments:
            more[-1].add_row(each.name, *(shown(each.figures[path].value) for path in part))
    return Group(found, *more)


def _table(*heads: str) -> Table:
    """Return a table for 80 columns: one word of a head on each line, long names folded."""
    candidate = Column("candidate", overflow="fold", min_width=_WIDTH)
    figures = (Column("\n".join(head.split()), overflow="fold") for head in heads)
    return Table(candidate, *figures, box=box.SIMPLE, pad_edge=False, collapse_padding=True)


def page(
    assessments: Sequence[Assessment],
    charts: Mapping[str, Path],
    command: str = "",
    missing: Sequence[str] = (),
) -> str:
    """Return the report as HTML, one page that needs no other file and runs no script.

    Args:
        assessments: the best first, of the same frames.
        charts: PNG files by their name in :data:`.CHARTS`.
        command: the command line.
        missing: names of candidates that could not be scored.
    """
    first = assessments[0]
    return (
        _templates()
        .get_template("report.html")
        .render(
            assessments=assessments,
            overall={each.name: each.figures for each in assessments},
            names=[*first.figures.values],
            frames=described(first.scored.frames),
            charts={CHARTS[name]: _png_uri(path.read_bytes()) for name, path in charts.items()},
            command=command,
            missing=missing,
        )
    )


def described(frames: LabelledFrames) -> str:
    """Say in one line which frames were scored.

    Example:
        >>> described(LabelledFrames.of([b"", b""], ["a", "b"], [True, False], player="random"))
        '2 frames of 2 episodes, 1 of them a success, 2 goals; played by random'
    """
    players = ", ".join(sorted({player for player in frames.players if player}))
    return (
        f"{len(frames):,} frames of {len({*frames.episodes}):,} episodes, "
        f"{int(frames.labels.sum()):,} of them a success, {len({*frames.goals}):,} goals"
        + (f"; played by {players}" if players else "")
    )


def shown(value: float) -> str:
    """Return a figure for a table; - where it is not defined.

    Example:
        >>> shown(0.98765), shown(float("nan"))
        ('0.988', '-')
    """
    return "-" if value != value else f"{value:.3f}"


def data_uri(frame: Frames) -> str:
    """Return a picture, uint8 ``[H, W, 3]``, as a PNG within a URI; larger ones are made small.

    Example:
        >>> data_uri(np.zeros((8, 8, 3), np.uint8))[:22]
        'data:image/png;base64,'
    """
    image, buffer = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE))
    image.save(buffer, "PNG")
    return _png_uri(buffer.getvalue())


def _png_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@cache
def _templates() -> jinja2.Environment:
    """Return the package's templates; whatever a goal or a name says is escaped."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("rllib_vlm_reward.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    functions = (shown, title_of, data_uri, false_positives, false_negatives)
    found.filters.update({function.__name__: function for function in functions})
    return found


def _ends(figure: Interval) -> str:
    return "" if figure.low != figure.low else f" ({figure.low:.2f}-{figure.high:.2f})"


def _to_dict(assessments: Sequence[Assessment], command: str) -> dict[str, Any]:
    frames = assessments[0].scored.frames
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
        "candidates": [each.to_dict() for each in assessments],
    }
