"""An experiment's command line, from its options to what it prints and leaves."""

import copy
import csv
import sys

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from test_search import RUN, InterruptsAtAReport

from rllib_vlm_reward.sweep import Setting, command


def space(steps=64):
    space = copy.deepcopy(RUN)
    space["vlm_reward"]["threshold"] = tune.grid_search([0.4, 0.6])
    space["training"]["lr"] = tune.loguniform(1e-4, 1e-2)
    space["stop"] = {"env_steps": steps}
    return space


def call(monkeypatch, *options, scheduler=None, steps=64, **changes):
    monkeypatch.setattr(sys, "argv", ["experiment", *map(str, options)])

    def setting():
        return Setting(space(steps), scheduler or FIFOScheduler(), 1, **changes)

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


def test_an_interrupted_search_prints_what_there_is_and_fails(
    cluster, monkeypatch, tmp_path, capsys
):
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--output", tmp_path, scheduler=InterruptsAtAReport(), steps=6400)
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "did not end. The same command goes on" in " ".join(printed.split())
    assert (tmp_path / "best.yaml").exists()


def test_what_the_search_refuses_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "--output", tmp_path)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("search: another one lies in")


def test_where_no_searcher_may_propose_it_says_so(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--optuna", takes_searcher=False)
    assert "--optuna: population-based training" in capsys.readouterr().err


def test_help_says_what_is_asked(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--help")
    assert "What is asked." in capsys.readouterr().out
