"""Draws the progress of a run: returns and success, and its curriculum."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from rllib_vlm_reward.files import replaced_file
from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.run.progress import FIGURES, Progress

__all__ = ["draw_curriculum", "save_curve"]

_NAMED = 40  # the most goals whose names fit beside the picture
# VLM return and success are often equal: the thick line stays visible around the thin one.
_STYLES: dict[str, dict[str, Any]] = dict(
    zip(FIGURES, ({"linewidth": 5, "alpha": 0.4}, {}, {"ls": "--"}, {"ls": ":"}), strict=True)
)


def save_curve(path: Path, history: Sequence[Progress], title: str) -> None:
    """Save VLM return, ground-truth return, success and false positives over env steps as a PNG.

    Args:
        path: path of the PNG.
        history: the progress of a run. With several agents, each has its own colour.
        title: title of the chart.
    """
    agents: list[str | None] = [*sorted({agent for row in history for agent in row.agents})]
    drawn: list[float] = []
    figure, axes = plt.subplots(figsize=(8, 4.5 + 0.4 * len(agents)), layout="constrained")
    for index, agent in enumerate(agents or [None]):
        for name, style in _STYLES.items():
            values = [(row.env_steps, row.figures(agent)[name]) for row in history]
            points = [(step, value) for step, value in values if value is not None]
            shade: dict[str, Any] = {"color": f"C{index}"} if agents else {}
            label = f"{agent or ''} {name.replace('_', ' ')}".strip()
            drawn += [value for _, value in points]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, **style, **shade)
    axes.set(xlabel="env steps", ylabel="mean per episode", title=title)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.axhline(0, color="black", linewidth=0.5)
    if drawn and min(drawn) >= 0 and max(drawn) <= 1:
        axes.set_ylim(-0.03, 1.03)  # or noise around 0.1 would look like a trend
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4 if len(agents) < 2 else 2, fontsize=8)
    with replaced_file(path) as fresh:
        figure.savefig(fresh, dpi=120)
    plt.close(figure)


def draw_curriculum(history: Sequence[Progress]) -> Frames:
    """Draw the weight of each goal and the mean of its signal over env steps.

    Vertical lines mark the beginning of a stage.

    Args:
        history: the progress of a run with a curriculum. The goals are those of its end; before a
            goal was added, it has neither.

    Returns:
        The picture, uint8 ``[H, W, 3]``.
    """
    rows = [row for row in history if row.curriculum is not None]
    curricula: list[dict[str, Any]] = [row.curriculum for row in rows if row.curriculum is not None]
    steps, goals = [row.env_steps for row in rows], list(curricula[-1]["goals"])
    figure, (above, below) = plt.subplots(
        2, figsize=(9, 2.5 + 0.3 * min(len(goals), _NAMED)), sharex=True, layout="constrained"
    )
    weights = _grid(curricula, goals, "weight")
    _draw(figure, above, weights, "weight")
    _draw(figure, below, _grid(curricula, goals, "mean"), "mean of the signal")
    for axes in (above, below):
        axes.set_yticks(range(len(goals)) if len(goals) <= _NAMED else [])
        axes.set_yticklabels(goals if len(goals) <= _NAMED else [], fontsize=7)
        for column in _promotions(curricula):
            axes.axvline(column - 0.5, color="white", linewidth=1)
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 6)).astype(int))
    below.set_xticks(shown, [f"{steps[column]:,}" for column in shown])
    below.set_xlabel("env steps")
    figure.canvas.draw()
    picture: Frames = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    plt.close(figure)
    return picture


def _grid(curricula: Sequence[dict[str, Any]], goals: Sequence[str], key: str) -> Any:
    """Return an array with a row for each goal and a column for each iteration; NaN for None."""
    columns = [curriculum["goals"] for curriculum in curricula]
    values = [[column.get(goal, {}).get(key) for column in columns] for goal in goals]
    return np.array(values, float)


def _draw(figure: Any, axes: Axes, grid: Any, name: str) -> None:
    values = grid[np.isfinite(grid)]
    lowest, highest = min(values.min(initial=0.0), 0.0), max(values.max(initial=0.0), 1e-9)
    image = axes.imshow(grid, aspect="auto", interpolation="nearest", vmin=lowest, vmax=highest)
    axes.set_facecolor("lightgrey")
    figure.colorbar(image, ax=axes, label=name)


def _promotions(curricula: Sequence[dict[str, Any]]) -> list[int]:
    """Return the iterations at which a stage began."""
    stages = [curriculum.get("stage") for curriculum in curricula]
    return [column for column in range(1, len(stages)) if stages[column] != stages[column - 1]]
