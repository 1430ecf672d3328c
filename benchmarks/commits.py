"""Is a commit slower than an older one? Runs one benchmark on both in turn.

    python benchmarks/commits.py 4041fc1 served --model small --request 16 --no-peers
    python benchmarks/commits.py --rounds 3 4041fc1 training

Each commit is checked out into a folder of its own and measured by its own
script, in a process of its own, as often as `--rounds` says, the order reversed
in every other round. The options behind the benchmark's name are for both
scripts, so both must know them; those of this script come first. Prints one
JSON object at the end: the figures of each round, medians, and how much the
older commit's rounds differ from each other, within which a difference says
nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from report import Sides, finish, parser, say, spread

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=None, precision=None)
    options.add_argument("older", help="the commit to compare with")
    options.add_argument("benchmark", help="name of a script in this folder, such as served")
    options.add_argument("--newer", default="HEAD", help="the commit that is compared")
    options.add_argument("--rounds", type=int, default=2, help="runs of each commit")
    options.add_argument("options", nargs=argparse.REMAINDER, help="options of the benchmark")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trees = {"older": Path(folder, "older"), "newer": Path(folder, "newer")}
        for side, tree in trees.items():
            git("worktree", "add", "--detach", str(tree), getattr(args, side))
        try:
            results = in_rounds(trees, args.benchmark, args.options, args.rounds)
        finally:
            for tree in trees.values():
                git("worktree", "remove", "--force", str(tree))
    commits = {side: git("rev-parse", "--short", getattr(args, side)) for side in trees}
    settings = {"commits": commits, "benchmark": args.benchmark, "options": args.options}
    finish("commits", compared(results), settings, args.out)


def git(*arguments: str) -> str:
    """Run git in this repository, and return what it prints."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def in_rounds(trees: dict[str, Path], benchmark: str, rest: list[str], rounds: int) -> Sides:
    """Run both commits' scripts in turn, and return the figures of each run."""
    results: Sides = {side: [] for side in trees}
    for number in range(rounds):
        for side in list(trees) if number % 2 == 0 else list(trees)[::-1]:
            say(f"round {number + 1} of {rounds}: {side}")
            results[side].append(measure(trees[side], benchmark, rest))
    return results


def measure(tree: Path, benchmark: str, rest: list[str]) -> dict[str, Any]:
    """Run a commit's script on that commit's package, and return its figures."""
    out = tree / "figures.json"
    command = [sys.executable, str(tree / "benchmarks" / f"{benchmark}.py"), *rest]
    # Ray's workers import from the driver's working directory, too.
    subprocess.run(
        [*command, "--out", str(out)],
        check=True,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
    )
    return json.loads(out.read_text())["figures"]


def compared(results: Sides) -> dict[str, Any]:
    """Return each figure that both commits have, with medians and their ratio.

    A figure is what has a median of its own, or is a number.

    Args:
        results: figures of each run, by side.
    """
    both = set.intersection(*({*run} for runs in results.values() for run in runs))
    table = {}
    for name in sorted(both):
        sides = {side: [number(run[name]) for run in runs] for side, runs in results.items()}
        if any(value is None for values in sides.values() for value in values):
            continue
        older, newer = spread(sides["older"]), spread(sides["newer"])
        table[name] = {
            "older": older,
            "newer": newer,
            "newer_over_older": newer["median"] / older["median"],
            "older_differs_by": older["highest"] / older["lowest"] - 1,
        }
        say(f"{name}: {older['median']:.4g} before, {newer['median']:.4g} now")
    return table


def number(figure: Any) -> float | None:
    """Return a figure's number, or None if it is none."""
    figure = figure.get("median") if isinstance(figure, dict) else figure
    return float(figure) if isinstance(figure, int | float) else None


if __name__ == "__main__":
    main()
