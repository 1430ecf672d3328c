"""What an evaluation leaves: a page, a JSON file, charts, and the terminal's table."""

import base64
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich import box
from rich.table import Column, Table

from rllib_vlm_reward.evaluation.charts import CHARTS, save_charts
from rllib_vlm_reward.evaluation.evaluate import Assessment
from rllib_vlm_reward.evaluation.figures import FIGURES, Figures
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import ScoredFrames
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.metrics.bootstrap import Interval

__all__ = [
    "Mistake",
    "data_uri",
    "described",
    "false_negatives",
    "false_positives",
    "page",
    "png_uri",
    "save",
    "shown",
    "table",
]

_SIDE = 224
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td small { opacity: .65; display: block; }
pre, code { background: var(--soft); padding: .1rem .3rem; }
pre { padding: .6rem; overflow-x: auto; }
.verdict b { text-transform: uppercase; }
.good b { color: #2a9d4a; } .poor b { color: #c98a00; } .bad b { color: #d8453a; }
.pictures img { max-width: 100%; background: white; }
.frames { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 9rem; font-size: 12px; }
figure img { width: 9rem; image-rendering: pixelated; border: 3px solid var(--line); }
figure.wrong img { border-color: #d8453a; }
"""
_MEANINGS = (
    "AP: area under precision and recall over β, 1 at best, the share of successes if the score "
    "tells nothing.",
    "AUROC: the chance that a success scores above a failure, 0.5 if the score tells nothing.",
    "Recognised: successes at which the own goal's prompt scores highest of its family's.",
    "Precision, recall, false positives an episode, missed episodes: of the reward at β; agents "
    "seek false positives, so weigh these most.",
    "ECE: mean gap between a score and the share of successes at it.",
    "EPIC: distance from the truth, 0 the same, 0.71 unrelated, 1 the contrary.",
    "Rank correlation with the oracle: whether the score rises on the way; a reward that pays "
    "only at the goal need not.",
    "Where nothing went wrong an interval is a point: the number of episodes says what that is "
    "worth.",
)
_SHOWN = {
    "average_precision": "AP",
    "goal_accuracy": "known",
    "missed_episodes": "missed",
    "false_positives": "FP/episode",
}
_WIDTH = 16


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A frame that scores too high, or too low.

    Attributes:
        frame: uint8 ``[H, W, 3]``.
        fires: whether the reward is paid.
    """

    frame: Frames
    goal: str
    score: float
    episode: str
    step: int
    fires: bool


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
        command: what was typed, for the report.
        missing: names of candidates that were to be scored, too.

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
    charts = {name: folder / f"{name}.png" for name in save_charts(folder, assessments)}
    report = page(assessments, charts, command, missing)
    (folder / "report.html").write_text(report, encoding="utf-8")


def table(assessments: Sequence[Assessment]) -> Table:
    """Return the terminal's table: a line a candidate."""
    heads = (Column(name, no_wrap=True) for name in ("verdict", *_SHOWN.values()))
    candidate = Column("candidate", overflow="fold", min_width=_WIDTH)
    found = Table(candidate, *heads, box=box.SIMPLE, pad_edge=False)
    for each in assessments:
        cells = [shown(getattr(each.figures, name).value) for name in _SHOWN]
        cells[0] += _ends(each.figures.average_precision)
        found.add_row(each.name, each.verdict.kind, *cells)
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


def page(
    assessments: Sequence[Assessment],
    charts: Mapping[str, Path],
    command: str = "",
    missing: Sequence[str] = (),
) -> str:
    """Return the report as HTML.

    Args:
        assessments: the best first, of the same frames.
        charts: PNG files by their name in :data:`.CHARTS`.
        command: what was typed.
        missing: names of candidates that were to be scored, too.
    """
    frames = assessments[0].scored.frames
    parts = [
        "<h1>How good is the reward?</h1>",
        f"<pre>{escape(command)}</pre>" if command else "",
        f"<p>{escape(described(frames))}</p>",
        f"<p><b>Not scored: {escape(', '.join(missing))}.</b></p>" if missing else "",
        _table("candidate", {each.name: each.figures for each in assessments}),
        "<p>Below each figure its 95 % interval, by bootstrap over episodes; - is not defined.</p>",
        "<details><summary>What the figures mean</summary><ul>",
        *(f"<li>{escape(meaning)}</li>" for meaning in _MEANINGS),
        "</ul></details>",
        *map(_verdict, assessments),
        "<h2>Pictures</h2>",
        *(_picture(name, path) for name, path in charts.items()),
        *(part for each in assessments for part in _details(each)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>How good is the reward?</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def described(frames: LabelledFrames) -> str:
    """Say in one line what there is to judge by.

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


def _table(what: str, rows: Mapping[str, Figures]) -> str:
    heads = (what, "frames", "successes", *FIGURES.values())
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{_row(name, figures)}</tr>\n" for name, figures in rows.items())
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _row(name: str, figures: Figures) -> str:
    counts = f"<td>{escape(name)}</td><td>{figures.frames}</td><td>{figures.successes}</td>"
    return counts + "".join(_cell(getattr(figures, figure)) for figure in FIGURES)


def _cell(figure: Interval) -> str:
    ends = f"{shown(figure.low)} to {shown(figure.high)}"
    known = figure.low == figure.low
    return f"<td>{shown(figure.value)}{f'<small>{ends}</small>' if known else ''}</td>"


def _verdict(assessment: Assessment) -> str:
    verdict = assessment.verdict
    colour = verdict.kind if verdict.kind in ("good", "poor") else "bad"
    return (
        f'<p class="verdict {colour}"><b>{escape(verdict.kind)}</b> '
        f"{escape(assessment.name)}: {escape(verdict.sentence)}</p>"
    )


def _picture(name: str, path: Path) -> str:
    title, uri = escape(CHARTS[name]), png_uri(path.read_bytes())
    return f'<p class="pictures"><img src="{uri}" alt="{title}"></p>'


def _details(assessment: Assessment) -> Iterable[str]:
    scored = assessment.scored
    chosen = " (the best F1 on these very frames, since none is given)"
    yield f"<h2>{escape(assessment.name)}</h2>"
    yield _verdict(assessment)
    yield (
        f"<p>Head {scored.config.head}, β = {scored.threshold:.4g}"
        f"{chosen if scored.threshold_chosen else ''}; weights {scored.fingerprint[:16]}.</p>"
    )
    settings = escape(scored.config.to_yaml())
    yield f"<details><summary>Settings</summary><pre>{settings}</pre></details>"
    yield from _mistaken(scored.goal_accuracy.mistaken)
    yield f"<h3>By family</h3>{_table('family', assessment.families)}"
    goals = _table("goal", assessment.goals)
    yield f"<details><summary>By goal ({len(assessment.goals)})</summary>{goals}</details>"
    yield "<h3>Highest scores without success</h3>"
    yield _gallery(false_positives(scored), wrong=True)
    yield "<h3>Lowest scores at success</h3>"
    yield _gallery(false_negatives(scored), wrong=False)


def _mistaken(mistaken: Mapping[str, str]) -> Iterable[str]:
    if mistaken:
        lines = (f"<li>{escape(a)}: {escape(b)}</li>" for a, b in mistaken.items())
        yield "<h3>Goals whose successes score highest for another goal</h3>"
        yield f"<ul>{''.join(lines)}</ul>"


def _gallery(mistakes: Sequence[Mistake], *, wrong: bool) -> str:
    """Return frames; those on the wrong side of β are framed in red."""
    figures = []
    for each in mistakes:
        framed = ' class="wrong"' if each.fires == wrong else ""
        words = f"{each.goal}, score {each.score:.3g}, episode {each.episode}, step {each.step}"
        image = f'<img src="{data_uri(each.frame)}" alt="">'
        figures.append(f"<figure{framed}>{image}<figcaption>{escape(words)}</figcaption></figure>")
    return f'<div class="frames">{"".join(figures) or "None."}</div>'


def false_positives(scored: ScoredFrames, most: int = 12) -> list[Mistake]:
    """Return the frames without success that score highest, the highest first; none twice.

    Example:
        >>> import numpy as np
        >>> from rllib_vlm_reward.config import VLMRewardConfig
        >>> from rllib_vlm_reward.evaluation.scored_frames import score_labelled
        >>> from rllib_vlm_reward.evaluation.labelled import LabelledFrames, encode
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


def data_uri(frame: Frames) -> str:
    """Return a picture, uint8 ``[H, W, 3]``, as a PNG within a URI; larger ones are made small.

    Example:
        >>> import numpy as np
        >>> data_uri(np.zeros((8, 8, 3), np.uint8))[:22]
        'data:image/png;base64,'
    """
    image, buffer = Image.fromarray(frame), io.BytesIO()
    image.thumbnail((_SIDE, _SIDE))
    image.save(buffer, "PNG")
    return png_uri(buffer.getvalue())


def png_uri(content: bytes) -> str:
    """Return a PNG file's content as a URI."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
