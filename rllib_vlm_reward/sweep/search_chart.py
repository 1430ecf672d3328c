"""The picture of a search: a line for each trial, through its settings to its objective."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rllib_vlm_reward.files import replaced_file

__all__ = ["draw_search", "save_search"]

OBJECTIVE = "objective"
# Characters of a label in the picture, and how many of them stand before the first difference.
LABEL, CONTEXT = 28, 8
# Axes in a row, without the objective's.
A_ROW = 6
# Smallest distance between two labels, as a share of an axis.
APART = 0.06
# Characters of a key above an axis.
KEY = 30

Heights = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]


def save_search(path: Path, searched: Sequence[str], rows: Rows) -> None:
    """Save the picture as a PNG, see :func:`draw_search`."""
    figure = draw_search(searched, rows)
    with replaced_file(path) as fresh:
        figure.savefig(fresh, dpi=110)
    plt.close(figure)


def draw_search(searched: Sequence[str], rows: Rows) -> Figure:
    """Draw each trial as a line through its settings; the best is red, better ones are darker.

    Args:
        searched: the dotted keys that are searched; more than six are drawn in several rows.
        rows: one row for each trial, the best first: ``trial_id``, the values of the keys, and
            ``objective``.
    """
    parts = [searched[at : at + A_ROW] for at in range(0, max(len(searched), 1), A_ROW)]
    wide = max(map(len, parts)) + 1
    size = max(2.1 * wide, 6.3), 0.5 + 3.6 * len(parts)
    figure = plt.figure(figsize=size, layout="constrained")
    each = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    for axes, part in zip(each, parts, strict=True):
        _draw_row(axes, [*part, OBJECTIVE], rows, wide)
    best = rows[0]
    figure.suptitle(
        f"{len(rows)} trial{'s' * (len(rows) != 1)}; "
        f"best: {best['trial_id']}, objective {_name(best[OBJECTIVE])}",
        fontsize=11,
    )
    return figure


def _draw_row(axes: Axes, keys: Sequence[str], rows: Rows, wide: int) -> None:
    heights = np.array([_heights([row[key] for row in rows]) for key in keys])
    objectives = _heights([float(row[OBJECTIVE]) for row in rows])
    for number in reversed(range(len(rows))):  # draw the best above the others
        grey = plt.colormaps["Blues"](0.25 + 0.6 * objectives[number])
        color, width = ("tab:red", 2.5) if number == 0 else (grey, 1.5)
        axes.plot(range(len(keys)), heights[:, number], "o-", color=color, lw=width, ms=3)
    for x, key in enumerate(keys):
        axes.axvline(x, color="black", linewidth=0.5, zorder=0)
        texts = [_name(row[key]) for row in rows]
        for row in _labelled(heights[x]):
            axes.annotate(
                _label(texts[row], [*dict.fromkeys(texts)]),
                (x, heights[x, row]),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                fontweight="bold" if row == 0 else "normal",
                bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5},
            )
    shown = [key if len(key) <= KEY else f"…{key[1 - KEY :]}" for key in keys]
    axes.set_xticks(range(len(keys)), shown, fontsize=8)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.set(yticks=[], xlim=(-0.4, wide - 0.4), ylim=(-0.05, 1.05))
    axes.spines[:].set_visible(False)


def _labelled(heights: Heights) -> list[int]:
    """Return the rows whose labels fit on an axis: the best, both ends, then the others."""
    order = [0, int(np.argmin(heights)), int(np.argmax(heights)), *range(len(heights))]
    chosen: list[int] = []
    for row in order:
        if all(abs(heights[row] - heights[other]) >= APART for other in chosen):
            chosen.append(row)
    return chosen


def _heights(values: list[Any]) -> Heights:
    """Scale values to [0, 1]: numbers by size, or its logarithm if they span a factor of 20; else
    by name."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.array(values, float)
        if numbers.min() > 0 and numbers.max() / numbers.min() > 20:
            numbers = np.log(numbers)
        spread = numbers.max() - numbers.min()
        return (numbers - numbers.min()) / spread if spread else np.full(len(numbers), 0.5)
    names = sorted({_name(value) for value in values})
    return np.array([(names.index(_name(value)) + 0.5) / len(names) for value in values])


def _name(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _label(name: str, names: Sequence[str]) -> str:
    """Shorten a name to fit between two axes; keep the part that no other name has."""
    if len(name) <= LABEL:
        return name
    width = LABEL - 2
    shared = max((_shared(name, other) for other in names if other != name), default=0)
    start = max(0, min(shared - CONTEXT, len(name) - width))
    end = start + width
    return f"{'…' if start else ''}{name[start:end]}{'…' if end < len(name) else ''}"


def _shared(one: str, other: str) -> int:
    """Return the length of the common prefix of two different names."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
