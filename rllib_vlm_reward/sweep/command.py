"""What every experiment of ``tune_experiments/`` can be asked on the command line."""

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console
from rich.table import Table

from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.sweep.results import METRICS
from rllib_vlm_reward.sweep.search import search

__all__ = ["Setting", "command"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A size of an experiment.

    Attributes:
        space: what is searched, see :func:`.search`.
        scheduler: what is stopped early or exploited.
        num_samples: trials, or where there is a grid, repetitions of it.
        takes_searcher: whether a searcher may propose the trials; not in population-based
            training. In place of a grid it proposes as many trials.
    """

    space: dict[str, Any]
    scheduler: TrialScheduler
    num_samples: int
    takes_searcher: bool = True


def command(
    doc: str | None, name: str, *, quick: Callable[[], Setting], cluster: Callable[[], Setting]
) -> None:
    """Run a search as the command line says, show its progress, and print the table.

    Args:
        doc: of the experiment, for ``--help``.
        name: of the folder in ``runs/``, unless ``--output`` names another.
        quick: the setting of ``--quick``.
        cluster: the other one.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="for 2 cores, in minutes")
    parser.add_argument("--output", type=Path, default=Path("runs", name))
    parser.add_argument("--samples", type=int, help="in place of the setting's number of trials")
    parser.add_argument("--optuna", action="store_true", help="let Optuna propose the trials")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    args = parser.parse_args()
    setting = quick() if args.quick else cluster()
    space, num_samples = setting.space, args.samples or setting.num_samples
    if args.optuna:
        if not setting.takes_searcher:
            parser.error("--optuna: population-based training mutates its trials. Leave it out.")
        space, points = _drawn(space)
        num_samples *= points
    try:
        results = search(
            space,
            args.output,
            num_samples=num_samples,
            scheduler=setting.scheduler,
            searcher=_optuna(args.seed) if args.optuna else None,
            seed=args.seed,
        )
    except ERRORS as error:
        parser.exit(1, f"{error}\n")
    console = Console()
    # What was searched would not fit beside them on a terminal.
    console.print(_table(results.rows, ["trial_id", *METRICS]))
    console.print("The best trial's:")
    for key in results.searched:
        console.print(f"  {key}: {_brief(results.rows[0][key])}")
    console.print(f"{args.output} holds results.csv, reports.csv, results.png and best.yaml.")
    if results.left:
        console.print(f"This is so far. {results.left}", markup=False)
    if results.unfinished:
        parser.exit(1)


def _table(rows: list[dict[str, Any]], columns: Sequence[str]) -> Table:
    table = Table(*(column.replace("_", " ") for column in columns))
    for row in rows:
        table.add_row(*(_brief(row[column]) for column in columns))
    return table


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _drawn(space: Any) -> tuple[Any, int]:
    """Return a space whose grids are drawn from, and how many points they had."""
    if isinstance(space, list):
        parts = [_drawn(part) for part in space]
        return [part for part, _ in parts], math.prod(points for _, points in parts)
    if not isinstance(space, dict):
        return space, 1
    if {*space} == {"grid_search"}:
        return tune.choice(space["grid_search"]), len(space["grid_search"])
    values, points = _drawn([*space.values()])
    return dict(zip(space, values, strict=True)), points


def _optuna(seed: int) -> Searcher:
    from ray.tune.search.optuna import OptunaSearch  # needs the extra `optuna`

    return OptunaSearch(seed=seed)
