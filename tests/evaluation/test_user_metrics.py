"""A user's metric lies beside this test, and is used by its import path."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import own_metrics
import pytest
from made_up import made_up_scores
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.evaluation.evaluate import evaluate
from rllib_vlm_reward.evaluation.figures import by_goal, figures
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.user_metrics import load_metrics

CONFIG = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)
RNG = np.random.default_rng(0)
LABELS = np.tile([True, False, False, False], 60)
SCORES = (RNG.random(240) * 0.6 + 0.4 * LABELS * RNG.random(240)).astype(np.float32)
EPISODES = [str(row // 4) for row in range(240)]


def measured(*names, labels=LABELS):
    metrics = load_metrics([f"own_metrics.{name}" for name in names])
    return figures(made_up_scores(CONFIG, SCORES, labels, episodes=EPISODES), metrics=metrics)


def some_frames():
    pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in range(0, 240, 20)]
    labels = [True, False] * 6
    return LabelledFrames.of(pixels, ["a ball", "a key"] * 6, labels, episodes=[*"aabbccddeeff"])


def test_its_value_is_the_function_of_all_frames():
    best = measured("best_f1")["own_metrics.best_f1"]
    assert best.value == pytest.approx(max(f1_score(LABELS, each <= SCORES) for each in SCORES))
    assert best.low < best.value < best.high


def test_its_interval_is_that_of_a_binomial_count():
    solved = measured("solved_episodes")["own_metrics.solved_episodes"]
    number = int((LABELS & (SCORES > 0.5)).sum())  # an episode has one success
    width = 1.96 * np.sqrt(number * (1 - number / 60))
    assert solved.value == number
    assert solved.low == pytest.approx(number - width, abs=2)
    assert solved.high == pytest.approx(number + width, abs=2)


def test_an_episode_that_is_drawn_twice_comes_as_two():
    longest = measured("share_of_longest")["own_metrics.share_of_longest"]
    assert [longest.value, longest.low, longest.high] == pytest.approx([1 / 60] * 3)


def test_it_may_be_undefined_for_a_goal_but_not_for_all_frames():
    goals, labels = ["a ball", "a key"] * 120, LABELS.copy()
    labels[1::2] = False  # no success of "a key"
    scored = made_up_scores(CONFIG, SCORES, labels, goals=goals, episodes=EPISODES)

    def precision(scores, labels, episodes):
        return labels.mean() if labels.any() else np.nan

    (path,) = metrics = load_metrics([precision])
    found = by_goal(scored, metrics)
    assert found["a ball"][path].value == pytest.approx(labels[::2].mean())
    assert np.isnan(found["a key"][path].value)
    with pytest.raises(ConfigError, match=r"own_metrics\.undefined': got nan for all frames"):
        measured("undefined")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own_metrics.broken", r"own_metrics\.py, line \d+, raised AttributeError: 'numpy"),
        ("own_metrics.wordy", r"got '0\.\d\d' of type str, expected a float"),
        ("own_metrics.short", r"the call with \(scores, labels, episodes\) raised TypeError"),
        ("own_metrics.lost", "cannot import 'own_metrics.lost'"),
        ("own_metrics.np.pi", "cannot import"),
        ("math.pi", "got a float, expected a function"),
    ],
)
def test_what_is_wrong_is_said_before_a_clip_is_loaded(name, says, monkeypatch):
    monkeypatch.setattr("rllib_vlm_reward.evaluation.models.load_model", pytest.fail)
    with pytest.raises(ConfigError, match=says) as error:
        evaluate({"run": CONFIG}, some_frames(), metrics=[name])
    assert name in str(error.value)


def test_a_metric_is_given_once():
    with pytest.raises(ConfigError, match="twice"):
        load_metrics(["own_metrics.best_f1", own_metrics.best_f1])


class Cells(HTMLParser):
    """The cells of a page's tables."""

    def __init__(self, text):
        super().__init__()
        self.cells = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


def test_the_command_shows_it_in_table_json_and_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some_frames().save(tmp_path / "frames.parquet")
    Path("run.yaml").write_text(CONFIG.to_yaml())
    words = ["evaluate", "run.yaml", "--frames", "frames.parquet", "--output", "out"]
    words += ["--metric", "own_metrics.best_f1", "--metric", "own_metrics.solved_episodes"]
    ran = CliRunner().invoke(app, words, env={"COLUMNS": "160"}, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    (candidate,) = json.loads(Path("out/evaluation.json").read_text())["candidates"]
    (assessment,) = evaluate({"run": CONFIG}, some_frames(), metrics=[own_metrics.best_f1])
    scores, labels = assessment.scored.scores, assessment.scored.frames.labels
    expected = max(f1_score(labels, scores >= each) for each in scores)
    best = candidate["all"]["own_metrics.best_f1"]
    assert best["value"] == pytest.approx(expected)
    assert best["low"] <= best["value"] <= best["high"]
    solved = [
        candidate["goals"][goal]["own_metrics.solved_episodes"] for goal in CONFIG.goal_set.texts
    ]
    assert all(each["value"] is not None for each in solved)
    assert {"best_f1", "solved_episodes", f"{expected:.3f}"} <= set(ran.stdout.split())
    cells = Cells(Path("out/report.html").read_text()).cells
    ends = f"{best['low']:.3f} to{best['high']:.3f}"  # a line break between them
    assert "best_f1" in cells
    assert f"{expected:.3f}{ends}" in [cell.strip() for cell in cells]
