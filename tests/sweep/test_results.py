import csv
import types

import pandas
import pytest
from ray import tune

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.sweep.results import SweepResults, searched

RUN = {
    "environment": {"env": "CartPole-v1"},
    "vlm_reward": {"encoder": "ViT-B-32/random", "goals": ["a pole"], "negatives": ["a cart"]},
    "stop": {"env_steps": 1000},
}
SPACE = {**RUN, "training": {"lr": tune.loguniform(1e-4, 1e-1)}, "seed": tune.grid_search([0, 1])}


class Grid(list):
    """Stands for a ResultGrid: an iterable of results, and the errors of some."""

    errors = ("Traceback\nValueError: no such env",)


def trial(objective, **config):
    metrics = {"objective": objective, "env_steps": 1000} if objective is not None else {}
    reports = pandas.DataFrame([{"objective": 0.0, "env_steps": 500}, metrics])
    return types.SimpleNamespace(
        metrics=metrics, metrics_dataframe=reports, config={**RUN, **config}
    )


@pytest.fixture
def results():
    return SweepResults(
        Grid(
            [
                trial(0.25, training={"lr": 1e-4}, seed=0),
                trial(0.75, training={"lr": 1e-2}, seed=1),
                trial(None, training={"lr": 1e-1}, seed=1),
                trial(0.5, training={"lr": 1e-3}, seed=0),
            ]
        ),
        SPACE,
    )


def test_what_is_searched_is_found_at_any_depth():
    assert [*searched(SPACE)] == ["training.lr", "seed"]
    assert [*searched({"vlm_reward": {"templates": [{"goal": "{}"}]}})] == []


def test_the_table_has_the_best_first_and_no_trial_that_never_reported(results):
    assert [row["objective"] for row in results.rows] == [0.75, 0.5, 0.25]
    assert [row["training.lr"] for row in results.rows] == [1e-2, 1e-3, 1e-4]


def test_the_best_yaml_is_the_best_trials_experiment(results, tmp_path):
    results.save(tmp_path)
    best = Experiment.from_file(tmp_path / "best.yaml")
    assert (best.seed, best.training["lr"]) == (1, 1e-2)
    with (tmp_path / "results.csv").open() as file:
        assert [float(row["objective"]) for row in csv.DictReader(file)] == [0.75, 0.5, 0.25]
    with (tmp_path / "reports.csv").open() as file:
        reports = [(row["seed"], row["env_steps"]) for row in csv.DictReader(file)]
    assert reports == [("1", "500"), ("1", "1000"), *[("0", "500"), ("0", "1000")] * 2]
    assert (tmp_path / "results.png").stat().st_size > 10_000


def test_a_search_without_a_report_says_why():
    with pytest.raises(ConfigError, match=r"none of 1 trials reported.*no such env"):
        SweepResults(Grid([trial(None)]), SPACE)
