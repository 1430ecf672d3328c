"""What a search found: a table, a picture, the best experiment's YAML, and means over seeds."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from ray.tune import ResultGrid
from ray.tune.experiment import Trial
from ray.tune.result import EXPR_RESULT_FILE
from ray.tune.search.sample import Domain
from scipy.stats import t as student

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.monitoring import metric_names
from rllib_vlm_reward.run import Experiment

__all__ = ["METRICS", "SweepResults", "interval", "searched"]

LABEL, CONTEXT = 28, 8  # characters between two axes of the picture, of them before a difference
METRICS = (
    "objective",
    metric_names.GROUND_TRUTH_SUCCESS,
    "goal_blind_success",
    metric_names.VLM_RETURN,
    metric_names.FALSE_POSITIVES,
    "goals",
    "env_steps",
    "wall_seconds",
)


class SweepResults:
    """The trials of a search over :class:`~rllib_vlm_reward.sweep.trial.ExperimentTrial`.

    Args:
        grid: what ``Tuner.fit`` returned.
        space: its ``param_space``; what is searched in it are the columns.
        trials: how many the search is to make.

    Attributes:
        searched: the dotted keys of what is searched.
        failures: the last line of each failed trial's error; the same search tries these again.
        unfinished: trials that were interrupted or not begun; the same search goes on with them.

    Raises:
        ConfigError: no trial reported.
    """

    def __init__(self, grid: ResultGrid, space: Mapping[str, Any], *, trials: int) -> None:
        self.searched = tuple(searched(space))
        self._trials = [
            result for result in grid if result.metrics and "objective" in result.metrics
        ]
        self.failures = tuple(str(error).strip().splitlines()[-1] for error in grid.errors)
        statuses = _statuses(Path(grid.experiment_path))
        self.unfinished = trials - statuses[Trial.TERMINATED] - statuses[Trial.ERROR]
        if not self._trials:
            why = "" if self.failures else ", since it was interrupted"
            raise ConfigError(f"sweep: none of {trials} trials reported{why}. {self.left}")
        # The best last, as a parallel-coordinates picture draws it above the others; none that
        # failed. Ties are broken by the id, since a restored search lists trials in another order.
        self._trials.sort(
            key=lambda it: (it.error is None, it.metrics["objective"], it.metrics["trial_id"])
        )

    @property
    def left(self) -> str:
        """What the same search would still do, in words; empty where there is nothing."""
        parts = [f"{self.unfinished} did not end"] if self.unfinished else []
        if self.failures:
            parts.append(f"{len(self.failures)} failed ({'; '.join(self.failures)})")
        return f"Trials: {', '.join(parts)}. The same command goes on with these." if parts else ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A trial a row, the best first: its id, what was searched, the last report's figures."""
        return [self._row(result.config, result.metrics) for result in reversed(self._trials)]

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Every report of every trial a row, the best trial's first, each trial's in order.

        What was searched is as it stood at the report: population-based training changes it.
        """
        return [
            self._row(report["config"], report)
            for result in reversed(self._trials)
            for report in _reports(Path(result.path))
        ]

    @property
    def best(self) -> Experiment:
        """The experiment whose last report is the best, with a pool of its own."""
        config = dict(self._trials[-1].config)
        reward = dict(config["vlm_reward"])
        if "serving" in reward:
            serving = reward["serving"].items()
            reward["serving"] = {key: value for key, value in serving if key != "pool_name"}
        config["vlm_reward"] = reward
        return Experiment.model_validate(config)

    def save(self, folder: Path) -> None:
        """Write the table, the reports, a picture, and the best experiment.

        These are ``results.csv``, ``reports.csv``, ``results.png``, and ``best.yaml``, which
        ``rllib-vlm-reward train`` runs.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in (("results.csv", self.rows), ("reports.csv", self.reports)):
            with (folder / name).open("w", newline="") as file:
                writer = csv.DictWriter(file, ["trial_id", *self.searched, *METRICS])
                writer.writeheader()
                writer.writerows(rows)
        (folder / "best.yaml").write_text(self.best.to_yaml())
        self._draw(folder / "results.png")

    def _row(self, config: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
        drawn = {key: _at(config, key) for key in self.searched}
        figures = {key: report.get(key) for key in METRICS}
        return {"trial_id": report["trial_id"], **drawn, **figures}

    def _draw(self, path: Path) -> None:
        """Draw each trial as a line through what was searched, coloured by its objective."""
        keys = [*self.searched, "objective"]
        rows = self.rows[::-1]
        figure, axes = plt.subplots(figsize=(2.2 * len(keys), 5), layout="constrained")
        heights = np.array([_heights([row[key] for row in rows]) for key in keys])
        objective = [float(row["objective"]) for row in rows]
        colours = plt.colormaps["viridis"](_heights(objective))
        for column, colour in zip(heights.T, colours, strict=True):
            axes.plot(range(len(keys)), column, color=colour, linewidth=2, alpha=0.8)
        for x, key in enumerate(keys):
            axes.axvline(x, color="black", linewidth=0.5)
            named = {_name(row[key]): height for row, height in zip(rows, heights[x], strict=True)}
            for name, height in named.items():
                axes.text(x + 0.03, height, _label(name, [*named]), fontsize=7)
        axes.set_xticks(range(len(keys)), keys, rotation=20, ha="right", fontsize=8)
        axes.set_yticks([])
        figure.savefig(path, dpi=120)
        plt.close(figure)


def searched(space: Mapping[str, Any] | list[Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a ``param_space`` that Tune draws, or tries one by one.

    A number is a place in a list.

    Example:
        >>> from ray import tune
        >>> space = {"training": {"lr": tune.loguniform(1e-4, 1e-2), "gamma": 0.9}}
        >>> [*searched({**space, "seed": tune.grid_search([0, 1])})]
        ['training.lr', 'seed']
    """
    for key, value in space.items() if isinstance(space, Mapping) else enumerate(space):
        is_grid = isinstance(value, Mapping) and {*value} == {"grid_search"}
        if is_grid or isinstance(value, Domain):
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping | list):
            yield from searched(value, f"{prefix}{key}.")


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Return a mean, its 95 % interval (Student's t), and the values.

    Args:
        values: one of each seed.

    Returns:
        ``mean``, ``low``, ``high`` (None where there is but one value) and ``each``.

    Example:
        >>> {key: round(end, 2) for key, end in interval([0.7, 0.8, 0.9]).items() if key != "each"}
        {'mean': 0.8, 'low': 0.55, 'high': 1.05}
    """
    mean, count = fmean(values), len(values)
    half = None
    if count > 1:
        half = float(student.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return {
        "mean": mean,
        "low": None if half is None else mean - half,
        "high": None if half is None else mean + half,
        "each": [*values],
    }


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value[int(key) if isinstance(value, list | tuple) else key]
    return value


def _statuses(folder: Path) -> Counter[str]:
    """Count the trials of each status.

    Ray 2.60's ``ResultGrid.num_terminated`` counts those that an interrupt ended, too; the state
    that ``Tuner.restore`` reads does not.
    """
    paths = folder.glob("experiment_state-*.json")
    last = max(paths, key=lambda path: path.name, default=None)
    states = json.loads(last.read_text())["trial_data"] if last is not None else []
    return Counter(json.loads(state)["status"] for state, _ in states)


def _reports(folder: Path) -> list[dict[str, Any]]:
    """Read a trial's reports; one that was made again after an interruption counts once."""
    lines = (folder / EXPR_RESULT_FILE).read_text().splitlines()
    reports = {report["training_iteration"]: report for report in map(json.loads, lines)}
    return [reports[iteration] for iteration in sorted(reports)]


def _heights(values: list[Any]) -> Any:
    """Return values between 0 and 1: numbers by size (its logarithm over decades), else by name."""
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
    """Return a name as it fits between two axes: of a long one, the part that no other has."""
    if len(name) <= LABEL:
        return name
    width = LABEL - 2
    shared = max((_shared(name, other) for other in names if other != name), default=0)
    start = max(0, min(shared - CONTEXT, len(name) - width))
    end = start + width
    return f"{'…' if start else ''}{name[start:end]}{'…' if end < len(name) else ''}"


def _shared(one: str, other: str) -> int:
    """Return how many characters two different names begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
