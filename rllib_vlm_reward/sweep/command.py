"""The command line of the searches in ``tune_experiments/``."""

import argparse
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich import box
from rich.console import Console
from rich.table import Column, Table

from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.monitoring.metric_names import GROUND_TRUTH_SUCCESS
from rllib_vlm_reward.sweep.results import METRICS
from rllib_vlm_reward.sweep.search import search

__all__ = ["Setting", "command"]

# The objective is the success if there is one, and the goals are the same in all rows.
_NO_ROOM = {GROUND_TRUTH_SUCCESS, "goals"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting of an experiment: its search space, and how much of it to try.

    Attributes:
        space: the search space, see :func:`.search`.
        scheduler: decides which trials stop early or continue from others.
        num_samples: number of trials; with a grid, number of repetitions of the grid.
        takes_searcher: whether a searcher may propose the trials, as many as a grid has points;
            False for population-based training.
    """

    space: dict[str, Any]
    scheduler: TrialScheduler
    num_samples: int
    takes_searcher: bool = True


def command(
    doc: str | None, name: str, *, quick: Callable[[], Setting], cluster: Callable[[], Setting]
) -> None:
    """Run the search that the command line asks for, show its progress, and print the table.

    Args:
        doc: the experiment's description, for ``--help``.
        name: the folder in ``runs/``, unless ``--output`` names another.
        quick: returns the setting of ``--quick``.
        cluster: returns the setting without ``--quick``.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="use the setting for 2 cores, which takes minutes"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs", name),
        help=f"folder for the results; runs/{name} by default",
    )
    parser.add_argument("--samples", type=int, help="number of trials, or of repetitions of a grid")
    parser.add_argument("--optuna", action="store_true", help="let Optuna propose the trials")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random draws")
    args = parser.parse_args()
    setting = quick() if args.quick else cluster()
    space, num_samples = setting.space, args.samples or setting.num_samples
    if args.optuna:
        if not setting.takes_searcher:
            parser.error(
                "--optuna: population-based training mutates its trials, so no searcher can "
                "propose them. Leave --optuna out."
            )
        space, points = _without_grids(space)
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
    console.print(_table(results.rows))
    console.print("Settings of the best trial:")
    for key in ("goals", *results.searched):
        console.print(f"  {key}: {_brief(results.rows[0][key])}", soft_wrap=True, markup=False)
    console.print(f"{args.output} holds results.csv, reports.csv, results.png and best.yaml.")
    if results.remaining:
        console.print(f"These results are incomplete. {results.remaining}", markup=False)
    if results.unfinished:
        parser.exit(1)


def _table(rows: list[dict[str, Any]]) -> Table:
    """Return a table for 80 columns, without the searched settings: ``results.csv`` has them."""
    names = ("trial_id", *(name for name in METRICS if name not in _NO_ROOM))
    columns = (Column(name.replace("_", "\n"), overflow="fold") for name in names)
    table = Table(*columns, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for row in rows:
        table.add_row(*(_brief(row[name]) for name in names))
    return table


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _without_grids(space: Any) -> tuple[Any, int]:
    """Return the space with grids replaced by random choices, and the grids' number of points."""
    if isinstance(space, list):
        parts = [_without_grids(part) for part in space]
        return [part for part, _ in parts], math.prod(points for _, points in parts)
    if not isinstance(space, dict):
        return space, 1
    if {*space} == {"grid_search"}:
        return tune.choice(space["grid_search"]), len(space["grid_search"])
    values, points = _without_grids([*space.values()])
    return dict(zip(space, values, strict=True)), points


def _optuna(seed: int) -> Searcher:
    from ray.tune.search.optuna import OptunaSearch  # needs the extra `optuna`

    return OptunaSearch(seed=seed)
