"""docs/your-own-parts.md from top to bottom: its files in an empty folder, through the commands."""

import ast
import json

import pytest
import readers
from pages import ROOT, files_of

FILES = files_of(ROOT / "docs" / "your-own-parts.md")
PROGRAM = "rllib-vlm-reward"
PARTS = ("WeightedCosine", "ColorEncoder", "left_half", "ColorRoom", "LeastPlayed", "margin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("own-parts")
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


def test_each_part_is_one_class_or_function_of_at_most_30_lines():
    tree = ast.parse(FILES["my_parts.py"])
    lines = {
        node.name: node.end_lineno - node.lineno + 1 for node in tree.body if hasattr(node, "name")
    }
    assert set(lines) == set(PARTS)
    assert max(lines.values()) <= 30


def test_a_run_trains_on_all_of_them(folder):
    readers.run(PROGRAM, "train", "run.yaml", "--output", "runs/mine", folder=folder)
    summary = json.loads((folder / "runs" / "mine" / "summary.json").read_text())
    assert summary["encoder"] == "my_parts.ColorEncoder"
    assert summary["env_steps"] >= 128
    # The half that CLIP's stand-in sees is painted in the goal's colour, or it is not.
    assert summary["vlm_return_mean"] == summary["ground_truth_return_mean"]
    assert summary["false_positives_per_episode"] == 0
    progress = [json.loads(line) for line in (folder / "runs/mine/progress.jsonl").open()]
    drawn = [goal["episodes"] for goal in progress[-1]["curriculum"]["goals"].values()]
    assert max(drawn) - min(drawn) <= 4 + 1  # at most what is under way beside the least played


def test_evaluate_tells_the_metric(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    words = ("evaluate", "run.yaml", "--metric", "my_parts.margin", "--output", "runs/eval")
    readers.run_here(*words)
    (model,) = json.loads((folder / "runs" / "eval" / "evaluation.json").read_text())["candidates"]
    margin = model["all"]["my_parts.margin"]
    assert 0.1 < margin["value"] < 1.0
    assert margin["low"] <= margin["value"] <= margin["high"]
