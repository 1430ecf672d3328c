"""An experiment's command line, from its options to what it prints and leaves."""

import copy
import csv
import signal
import sys

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from test_search import actors, with_reward

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.sweep import Setting, command


class InterruptsOnce(FIFOScheduler):
    """Sends Ctrl-C when the first trial reports."""

    is_armed = False

    def on_trial_result(self, *given):
        if InterruptsOnce.is_armed:
            InterruptsOnce.is_armed = False
            signal.raise_signal(signal.SIGINT)
        return super().on_trial_result(*given)


def space():
    space = copy.deepcopy(with_reward(serving={"pool_name": "by-optuna"}))
    space["vlm_reward"]["threshold"] = tune.grid_search([0.4, 0.6])
    space["training"]["lr"] = tune.loguniform(1e-4, 1e-2)
    return space


def call(monkeypatch, *options, **changes):
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, options)])

    def setting():
        return Setting(space(), InterruptsOnce(), 1, **changes)

    command("What is asked.", "experiment", quick=setting, cluster=setting)


def test_a_search_by_optuna_goes_on_after_ctrl_c(cluster, monkeypatch, tmp_path, capsys):
    """Optuna proposes as many trials as the grid had points; what has ended is not repeated."""
    options = ("--quick", "--optuna", "--output", tmp_path)
    monkeypatch.setattr(InterruptsOnce, "is_armed", True)
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, *options)
    assert ended.value.code == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 did not finish. Run the same command again" in printed
    first = rows_of(tmp_path)
    assert 1 <= len(first) <= 2
    assert int(first[0]["env_steps"]) < 320

    call(monkeypatch, *options)
    rows = rows_of(tmp_path)
    assert {row["trial_id"] for row in rows} >= {row["trial_id"] for row in first}
    assert [row["env_steps"] for row in rows] == ["320", "320"]
    assert len({row["training.lr"] for row in rows}) == 2
    assert {row["vlm_reward.threshold"] for row in rows} <= {"0.4", "0.6"}
    printed = capsys.readouterr().out
    assert f"training.lr: {float(rows[0]['training.lr']):.3g}" in printed
    assert "results.csv" in printed
    best = Experiment.from_file(tmp_path / "best.yaml")
    assert best.training["lr"] == float(rows[0]["training.lr"])

    call(monkeypatch, *options)
    assert rows_of(tmp_path) == rows  # their wall_seconds too: nothing was trained again
    assert not any("by-optuna" in name for name in actors())


def rows_of(folder):
    with (folder / "results.csv").open() as file:
        return [*csv.DictReader(file)]


def test_what_the_search_refuses_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--output", tmp_path)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"search: {tmp_path} holds another search")


def test_where_no_searcher_may_propose_it_says_so(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--optuna", takes_searcher=False)
    assert "--optuna: population-based training" in capsys.readouterr().err


def test_help_says_what_is_asked(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--help")
    assert "What is asked." in capsys.readouterr().out
