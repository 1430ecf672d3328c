"""An experiment's command line, from its options to what it prints and leaves."""

import copy
import csv
import sys

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from test_search import RUN

from rllib_vlm_reward.sweep import Setting, command


def space():
    space = copy.deepcopy(RUN)
    space["vlm_reward"]["threshold"] = tune.grid_search([0.4, 0.6])
    space["training"]["lr"] = tune.loguniform(1e-4, 1e-2)
    space["stop"] = {"env_steps": 64}
    return space


def call(monkeypatch, *options, **changes):
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, options)])

    def setting():
        return Setting(space(), FIFOScheduler(), 1, **changes)

    command("What is asked.", "experiment", quick=setting, cluster=setting)


def test_optuna_proposes_as_many_trials_as_the_grid_had(cluster, monkeypatch, tmp_path, capsys):
    call(monkeypatch, "--quick", "--optuna", "--output", tmp_path)
    with (tmp_path / "results.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 2
    assert len({row["training.lr"] for row in rows}) == 2
    assert {row["vlm_reward.threshold"] for row in rows} <= {"0.4", "0.6"}
    printed = capsys.readouterr().out
    assert f"training.lr: {float(rows[0]['training.lr']):.3g}" in printed
    assert "results.csv" in printed


def test_where_no_searcher_may_propose_it_says_so(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--optuna", takes_searcher=False)
    assert "--optuna: population-based training" in capsys.readouterr().err


def test_help_says_what_is_asked(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--help")
    assert "What is asked." in capsys.readouterr().out
