import csv
import json
import types

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
    """Stands for a ResultGrid: results, the errors of some, and the folder of Tune's state."""

    errors = ("Traceback\nValueError: no such env",)

    def __init__(self, folder, trials):
        super().__init__(trials)
        self.experiment_path = str(folder)
        for name, statuses in (("1", ["RUNNING"]), ("2", ["TERMINATED", "ERROR", "TERMINATED"])):
            states = [[json.dumps({"status": status}), "{}"] for status in statuses]
            path = folder / f"experiment_state-{name}.json"
            path.write_text(json.dumps({"trial_data": states}))


def trial(folder, name, objective, *, error=None, **config):
    config, metrics = {**RUN, **config}, {}
    if objective is not None:
        metrics = {"objective": objective, "env_steps": 1000, "trial_id": name}
    early = {
        "objective": 0.0,
        "env_steps": 500,
        "trial_id": name,
        "config": {**config, "seed": 7},
    }  # before exploit
    reports = [
        {**early, "training_iteration": 1},
        {**metrics, "config": config, "training_iteration": 2, "again": False},
        {**metrics, "config": config, "training_iteration": 2},  # after an interruption
    ]
    (folder / name).mkdir()
    (folder / name / "result.json").write_text("\n".join(map(json.dumps, reports)))
    checkpoint = types.SimpleNamespace(path=str(folder / name / "checkpoint_000001"))
    return types.SimpleNamespace(
        metrics=metrics,
        path=str(folder / name),
        config=config,
        error=error,
        checkpoint=None if error else checkpoint,
    )


@pytest.fixture
def results(tmp_path):
    pooled = {**RUN["vlm_reward"], "serving": {"pool_name": "the-searchs"}}
    return SweepResults(
        Grid(
            tmp_path,
            [
                trial(tmp_path, "a", 0.25, training={"lr": 1e-4}, seed=0),
                trial(tmp_path, "b", 0.75, training={"lr": 1e-2}, seed=1, vlm_reward=pooled),
                trial(tmp_path, "c", None, training={"lr": 1e-1}, seed=1),
                trial(tmp_path, "d", 0.5, training={"lr": 1e-3}, seed=0),
                trial(tmp_path, "e", 0.9, training={"lr": 1e-3}, seed=0, error="it died"),
            ],
        ),
        SPACE,
        trials=6,
    )


def test_what_is_searched_is_found_at_any_depth():
    assert [*searched(SPACE)] == ["training.lr", "seed"]
    assert [*searched({"vlm_reward": {"templates": [{"goal": "{}"}]}})] == []
    lr = [[0, 1e-3], [1000, tune.uniform(1e-4, 1e-3)]]
    assert [*searched({"training": {"lr": lr}})] == ["training.lr.1.1"]


def test_the_table_has_the_best_first_what_failed_last_and_none_that_never_reported(results):
    assert [row["objective"] for row in results.rows] == [0.75, 0.5, 0.25, 0.9]
    assert [row["training.lr"] for row in results.rows] == [1e-2, 1e-3, 1e-4, 1e-3]
    assert [row["trial_id"] for row in results.rows] == ["b", "d", "a", "e"]
    assert results.unfinished == 3
    assert results.remaining == (
        "Trials: 3 did not finish, 1 failed (ValueError: no such env). "
        "Run the same command again to continue."
    )


def test_checkpoints_are_those_of_the_trials_that_have_one(results, tmp_path):
    expected = {name: tmp_path / name / "checkpoint_000001" for name in "adb"}
    assert results.checkpoints == expected


def test_the_best_yaml_is_the_best_trials_experiment(results, tmp_path):
    results.save(tmp_path)
    best = Experiment.from_file(tmp_path / "best.yaml")
    assert (best.seed, best.training["lr"]) == (1, 1e-2)
    assert best.vlm_reward.serving.pool_name is None
    with (tmp_path / "results.csv").open() as file:
        rows = [(row["trial_id"], float(row["objective"])) for row in csv.DictReader(file)]
    assert rows == [("b", 0.75), ("d", 0.5), ("a", 0.25), ("e", 0.9)]
    with (tmp_path / "reports.csv").open() as file:
        reports = [(row["seed"], row["env_steps"]) for row in csv.DictReader(file)]
    assert reports == [("7", "500"), ("1", "1000"), *[("7", "500"), ("0", "1000")] * 3]
    assert (tmp_path / "results.png").stat().st_size > 10_000


def test_a_search_without_a_report_says_why(tmp_path):
    with pytest.raises(ConfigError, match=r"none of 1 trials reported results.*no such env"):
        SweepResults(Grid(tmp_path, [trial(tmp_path, "a", None)]), SPACE, trials=1)


def test_a_search_interrupted_before_its_first_report_says_what_is_left(tmp_path):
    grid = Grid(tmp_path, [trial(tmp_path, "a", None)])
    grid.errors = ()
    for state in tmp_path.glob("experiment_state-*.json"):
        state.unlink()
    with pytest.raises(
        ConfigError, match=r"none of 2 trials reported results, since .* 2 did not finish\. Run"
    ):
        SweepResults(grid, SPACE, trials=2)
