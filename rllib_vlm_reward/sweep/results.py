"""The results of a search: a table, a picture, the best experiment's YAML; means over seeds."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ray.tune import ResultGrid
from ray.tune.experiment import Trial
from ray.tune.result import EXPR_RESULT_FILE
from ray.tune.search.sample import Domain
from scipy.stats import t as student

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.files import replaced_file, write_text
from rllib_vlm_reward.monitoring import metric_names
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.sweep.search_chart import save_search

__all__ = ["METRICS", "SweepResults", "interval", "searched"]

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
        grid: the result of ``Tuner.fit``.
        space: the tuner's ``param_space``; its searched keys are the columns.
        trials: number of trials of the whole search.

    Attributes:
        searched: the dotted keys that are searched.
        failures: the last line of each failed trial's error; running the same search again retries
            these trials.
        unfinished: number of trials that were interrupted or not started; running the same search
            again continues them.

    Raises:
        ConfigError: no trial has reported results.
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
            raise ConfigError(
                f"sweep: none of {trials} trials reported results{why}. {self.remaining}"
            )
        # Failed trials come first, the best one last. The id breaks ties, since a restored search
        # lists trials in another order.
        self._trials.sort(
            key=lambda it: (it.error is None, it.metrics["objective"], it.metrics["trial_id"])
        )

    @property
    def remaining(self) -> str:
        """Which trials are left, as a sentence; empty if none is."""
        parts = [f"{self.unfinished} did not finish"] if self.unfinished else []
        if self.failures:
            parts.append(f"{len(self.failures)} failed ({'; '.join(self.failures)})")
        return (
            f"Trials: {', '.join(parts)}. Run the same command again to continue." if parts else ""
        )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each trial, the best first: id, searched settings, last report's figures."""
        return [self._row(result.config, result.metrics) for result in reversed(self._trials)]

    @property
    def reports(self) -> list[dict[str, Any]]:
        """One row for each report of each trial, the best trial first, its reports in order.

        A row has the settings at its report: population-based training changes them.
        """
        return [
            self._row(report["config"], report)
            for result in reversed(self._trials)
            for report in _reports(Path(result.path))
        ]

    @property
    def checkpoints(self) -> dict[str, Path]:
        """The folder of each trial's last checkpoint, by the trial's id.

        ``Agent.load(folder / "algorithm")`` loads its policy.
        """
        return {
            result.metrics["trial_id"]: Path(result.checkpoint.path)
            for result in self._trials
            if result.checkpoint is not None
        }

    @property
    def best(self) -> Experiment:
        """The experiment with the best last report, without the pool that the trials shared."""
        config = dict(self._trials[-1].config)
        reward = dict(config["vlm_reward"])
        if "serving" in reward:
            serving = reward["serving"].items()
            reward["serving"] = {key: value for key, value in serving if key != "pool_name"}
        config["vlm_reward"] = reward
        return Experiment.model_validate(config)

    def save(self, folder: Path) -> None:
        """Write ``results.csv``, ``reports.csv``, ``results.png`` and ``best.yaml``.

        ``rllib-vlm-reward train`` runs ``best.yaml``, the best experiment.
        """
        for name, rows in (("results.csv", self.rows), ("reports.csv", self.reports)):
            with replaced_file(folder / name) as fresh, fresh.open("w", newline="") as file:
                writer = csv.DictWriter(file, ["trial_id", *self.searched, *METRICS])
                writer.writeheader()
                writer.writerows(rows)
        write_text(folder / "best.yaml", self.best.to_yaml())
        save_search(folder / "results.png", self.searched, self.rows)

    def _row(self, config: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
        drawn = {key: _at(config, key) for key in self.searched}
        figures = {key: report.get(key) for key in METRICS}
        return {"trial_id": report["trial_id"], **drawn, **figures}


def searched(space: Mapping[str, Any] | list[Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a ``param_space`` whose values Tune draws or takes from a grid.

    A number in a key is an index of a list.

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
        values: one value for each seed.

    Returns:
        ``mean``, ``low``, ``high`` (both None if there is only one value) and ``each``.

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

    Ray 2.60's ``ResultGrid.num_terminated`` also counts interrupted trials; the state that
    ``Tuner.restore`` reads does not.
    """
    paths = folder.glob("experiment_state-*.json")
    last = max(paths, key=lambda path: path.name, default=None)
    states = json.loads(last.read_text())["trial_data"] if last is not None else []
    return Counter(json.loads(state)["status"] for state, _ in states)


def _reports(folder: Path) -> list[dict[str, Any]]:
    """Read a trial's reports; a report that was repeated after an interruption counts once."""
    lines = (folder / EXPR_RESULT_FILE).read_text().splitlines()
    reports = {report["training_iteration"]: report for report in map(json.loads, lines)}
    return [reports[iteration] for iteration in sorted(reports)]
