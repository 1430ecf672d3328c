"""Shows a run on the terminal: a progress bar with the remaining time, and a live table."""

import logging
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column, Table

from rllib_vlm_reward.run.progress import FIGURES, Figures, Progress

__all__ = ["Display", "headline"]

_LOG = logging.getLogger("rllib_vlm_reward")
ROWS = 10
# Figures have the names of TensorBoard's and of summary.json's, with blanks to wrap at.
COLUMNS = ("iteration", "env_steps", *FIGURES, "env_steps_per_second")


class _Warnings(logging.Handler):
    """Shows the package's warnings above the bar, which a line on stderr would tear."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(
            record.getMessage(), style="bold red", soft_wrap=True, highlight=False, markup=False
        )


class Display:
    """Shows the progress of a run; prints plain lines if the output is not a terminal.

    Args:
        env_steps: number of env steps at which the bar is full.
    """

    def __init__(self, env_steps: int) -> None:
        self._console = Console()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        # Averages the speed over minutes, since that of a few iterations varies much.
        self._bar.speed_estimate_period = 120.0
        self._task = self._bar.add_task("starting", total=env_steps)
        self._rows: list[Progress] = []
        self._live = Live(console=self._console, get_renderable=self._render)
        self._warnings = _Warnings(self._console)

    def __enter__(self) -> "Display":
        _LOG.addHandler(self._warnings)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _LOG.removeHandler(self._warnings)
        if self._console.is_terminal:
            self._live.stop()

    def update(self, news: Progress | str) -> None:
        """Show the progress of an iteration, or a line of text about the next step."""
        if isinstance(news, str):
            self._bar.update(self._task, description=news)
            self._say(news)
            return
        self._rows.append(news)
        self._bar.update(self._task, completed=news.env_steps, description="training")
        left = self._bar.tasks[0].time_remaining
        eta = "" if left is None else f"  ETA {left / 60:.1f} min"
        labels = zip(map(_label, COLUMNS), _cells(news), strict=True)
        self._say("  ".join(f"{label} {cell}" for label, cell in labels) + eta)
        for agent, figures in news.agents.items():
            labels = zip(map(_label, FIGURES), _shown(figures), strict=True)
            self._say("  ".join([f"  agent {agent}", *(f"{name} {cell}" for name, cell in labels)]))

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _render(self) -> Group:
        table = _table(*COLUMNS)
        for row in self._rows[-ROWS:]:
            table.add_row(*_cells(row))
        agents = self._rows[-1].agents if self._rows else {}
        if not agents:
            return Group(table, self._bar)
        by_agent = _table("agent", *FIGURES)
        for agent, figures in agents.items():
            by_agent.add_row(agent, *_shown(figures))
        return Group(table, by_agent, self._bar)


def headline(summary: Mapping[str, Any]) -> str:
    """Return a run's evaluation in one line, under the names of ``summary.json``.

    Example:
        >>> headline({"evaluation_episodes": 100, "ground_truth_success": 0.98,
        ...     "false_positives_per_episode": 0.02, "vlm_return_mean": None})
        'evaluation episodes 100  ground truth success 0.980  false positives per episode 0.020'
    """
    known = [(_label(name), summary.get(name)) for name in FIGURES]
    figures = [f"{label} {value:.3f}" for label, value in known if value is not None]
    return "  ".join([f"evaluation episodes {summary['evaluation_episodes']}", *figures])


def _table(*names: str) -> Table:
    """Return a table that fits into 80 columns: heads wrap, and long words are folded."""
    first = Column(_label(names[0]), overflow="fold")
    numbers = (Column(_label(name), justify="right", overflow="fold") for name in names[1:])
    return Table(first, *numbers, box=box.SIMPLE, pad_edge=False, collapse_padding=True)


def _cells(row: Progress) -> tuple[str, ...]:
    rate = f"{row.env_steps_per_second:,.0f}"
    return (f"{row.iteration}", f"{row.env_steps:,}", *_shown(row.figures()), rate)


def _shown(figures: Figures) -> Iterator[str]:
    return ("-" if figures[name] is None else f"{figures[name]:.3f}" for name in FIGURES)


def _label(name: str) -> str:
    return name.replace("_", " ")
