"""Shows a breakdown as tables in the terminal, and as a picture."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rllib_vlm_reward.bench.breakdown import Breakdown
from rllib_vlm_reward.files import replaced_file

__all__ = ["save_picture", "tables"]

COLORS = {
    "env": "#4c78a8",
    "transport": "#f58518",
    "preprocess": "#72b7b2",
    "forward": "#54a24b",
    "learner": "#b279a2",
}


def tables(breakdown: Breakdown) -> Group:
    """Return the tables and sentences of a breakdown, for rich to print."""
    served, load = breakdown.served, breakdown.load
    height, width = load.frame
    speeds = Table("", "frames/s", title=f"{load.reward.encoder}, frames of {height}x{width}")
    best = served.limit.best
    speeds.add_row(
        f"bare CLIP, {served.limit.precision}, batches of {best.batch_size}, {best.lanes} at once",
        f"{served.limit_per_second:,.0f}",
    )
    speeds.add_row(
        f"runners: {load.runners}, requests of {load.request}, "
        f"actors: {load.reward.serving.num_actors}",
        f"{served.frames_per_second:,.0f}",
    )
    per = "an iteration" if breakdown.iteration else "1,000 frames"
    parts = Table("part", f"seconds of {per}", "share", title="where the time goes")
    for part in breakdown.parts:
        parts.add_row(part.name, f"{part.seconds:.3f}", f"{part.share:.0%}")
    sentences = (_iteration(breakdown), _conclusion(breakdown), breakdown.caveat)
    return Group(speeds, parts, *(Text(each) for each in sentences if each))


def _iteration(breakdown: Breakdown) -> str:
    run = breakdown.iteration
    if run is None:
        return "To time env and learner too, give the CONFIG of a run."
    return (
        f"An iteration takes {run.seconds:.2f} s with the reward ({run.mode}) and "
        f"{run.seconds_without:.2f} s with one that costs nothing."
    )


def _conclusion(breakdown: Breakdown) -> str:
    return f"{breakdown.sentence} {breakdown.remedy}"


def save_picture(path: Path, breakdown: Breakdown) -> None:
    """Save the shares as one horizontal bar, a PNG."""
    figure, axes = plt.subplots(figsize=(9, 2.2), layout="constrained")
    left = 0.0
    for part in breakdown.parts:
        label = f"{part.name} {part.share:.0%}"
        axes.barh(0, part.share, left=left, color=COLORS[part.name], label=label)
        left += part.share
    axes.set(xlim=(0, 1), yticks=[], xlabel="share of the time", title=breakdown.sentence)
    figure.legend(ncols=len(breakdown.parts), loc="outside lower center")
    with replaced_file(path) as fresh:
        figure.savefig(fresh, dpi=120)
    plt.close(figure)
