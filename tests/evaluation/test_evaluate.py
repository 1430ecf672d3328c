"""Contenders side by side, on disk and in the terminal."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner
from wrong_rewards import shuffled

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError, ConfigError, GoalError, RewardError
from rllib_vlm_reward.evaluation import collect as played
from rllib_vlm_reward.evaluation import models
from rllib_vlm_reward.evaluation.evaluate import candidates, evaluate
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.report import save, tables
from rllib_vlm_reward.evaluation.scored_frames import score_labelled
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.run import Experiment

pytestmark = pytest.mark.usefixtures("few_resamples")
ROOT = Path(__file__).parents[2]
CONFIG = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], threshold=0.5)


def refuse_nan(text):
    raise AssertionError(text)


@pytest.fixture(scope="module")
def some(lift):
    """Some 300 frames of episodes of both kinds."""
    return lift.take(np.arange(len(lift)) % 1000 // 50 % 3 == 0)


def test_each_configuration_meets_each_encoder():
    named = candidates({Path("a/one.yaml"): CONFIG, Path("two.yaml"): CONFIG}, ["small", "x/y/z"])
    assert [*named] == ["one, small", "one, y/z", "two, small", "two, y/z"]
    assert named["two, y/z"].encoder == "x/y/z"
    assert candidates({Path("one.yaml"): CONFIG})["one, small"] == CONFIG


def test_names_are_unique():
    named = candidates({Path("a/run.yaml"): CONFIG, Path("b/run.yaml"): CONFIG})
    assert [*named] == ["a/run.yaml, small", "b/run.yaml, small"]
    named = candidates({Path("run.yaml"): CONFIG}, ["a/b/c", "x/b/c"])
    assert [*named] == ["run.yaml, a/b/c", "run.yaml, x/b/c"]


def test_the_best_comes_first_and_one_model_serves_all_of_its_rewards(
    quickstart, some, monkeypatch
):
    loaded = []
    load = CLIPEncoder.load.__func__

    def counted(cls, spec, **more):
        loaded.append(spec)
        return load(cls, spec, **more)

    monkeypatch.setattr(CLIPEncoder, "load", classmethod(counted))
    rewards = {
        "wrong": shuffled(quickstart, 0),
        "other": quickstart.model_copy(update={"encoder": "small"}),
        "right": quickstart,
    }
    reported = []
    found = evaluate(rewards, some, report=reported.append)
    assert found[-1].name == "wrong"
    assert (
        found[0].figures["average_precision"].value > found[-1].figures["average_precision"].value
    )
    assert sorted(loaded) == ["base", "small"]
    assert sorted(reported) == ["other", "right", "wrong"]
    alone = score_labelled(quickstart, some)
    together = next(each for each in found if each.name == "right").scored
    np.testing.assert_array_equal(alone.scores, together.scores)


def test_what_is_wrong_is_said_before_anything_is_loaded(some, quickstart, monkeypatch):
    monkeypatch.setattr(CLIPEncoder, "load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(GoalError, match="goals that the configuration lacks"):
        evaluate({"right": quickstart, "wrong": CONFIG}, some)
    unknown = quickstart.model_copy(update={"encoder": "No-Such/model"})
    with pytest.raises(CheckpointError, match="No-Such"):
        evaluate({"right": quickstart, "wrong": unknown}, some)


def test_json_holds_all_and_no_nan(quickstart, some, tmp_path):
    few = some.take(np.flatnonzero(~some.labels)[:20])
    (assessment,) = found = evaluate({"run": quickstart}, few)
    save(tmp_path, found, command="evaluate run.yaml")
    text = (tmp_path / "evaluation.json").read_text()
    content = json.loads(text, parse_constant=refuse_nan)
    assert content["command"] == "evaluate run.yaml"
    assert content["frames"]["successes"] == 0
    (candidate,) = content["candidates"]
    assert candidate["fingerprint"] == assessment.scored.fingerprint
    assert candidate["verdict"]["kind"] == "too few"
    assert candidate["all"]["average_precision"] == {"value": None, "low": None, "high": None}
    assert VLMRewardConfig.model_validate(candidate["vlm_reward"]) == quickstart
    assert candidate["goals"].keys() == {*few.goals}
    unseen = {*quickstart.training_goals.texts} - {*few.goals}
    assert {*candidate["unseen_goals"]} == unseen
    said = f" {len(unseen)} of the 18 goals of training had no frame"
    assert said in candidate["verdict"]["sentence"]
    assert candidate["families"].keys() == {"pick up {}"}
    assert sum(candidate["reliability"]["frames"]) == 20
    console = Console(width=80)
    with console.capture() as captured:
        console.print(tables(found))
    row = next(line for line in captured.get().splitlines() if "run" in line)
    assert row.split()[1:] == ["too", "few", "-", "-", "-", "0.000"]


def test_the_command_writes_a_report_and_says_the_verdicts(quickstart, some, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some.save(tmp_path / "frames.parquet")
    Path("right.yaml").write_text(quickstart.to_yaml())
    wrong = shuffled(quickstart, 0).model_dump(mode="json", exclude_defaults=True)
    Path("wrong.yaml").write_text(yaml.safe_dump({"vlm_reward": wrong}))
    arguments = ["right.yaml", "wrong.yaml", "--frames", "frames.parquet", "--output", "out"]
    ran = CliRunner().invoke(app, ["evaluate", *arguments])
    assert ran.exit_code == 0, ran.output
    assert "right, base: good." in ran.output
    assert "wrong, base: shuffled." in ran.output
    content = json.loads(Path("out/evaluation.json").read_text())
    assert [each["name"] for each in content["candidates"]] == ["right, base", "wrong, base"]
    names = {path.name for path in Path("out").iterdir()}
    assert names == {
        *("evaluation.json", "report.html", "precision_recall.png", "scores.png"),
        *("reliability.png", "goals.png", "steps_to_go.png"),
    }


def test_without_frames_the_env_is_played_and_needs_no_policy(tmp_path, monkeypatch):
    run = yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text())
    run["vlm_reward"]["encoder"] = "small"
    del run["policy"]  # and RLlib has none for frames with a goal
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text(yaml.safe_dump(run))
    ran = CliRunner().invoke(app, ["evaluate", "run.yaml", "--output", "out"])
    assert ran.exit_code == 0, ran.output
    frames = LabelledFrames.load(Path("out/frames.parquet"))
    assert {*frames.players} == {"random", "expert"}
    content = json.loads(Path("out/evaluation.json").read_text())
    assert content["frames"]["frames"] == len(frames)
    assert content["candidates"][0]["verdict"]["kind"] == "good"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--encoder", "No-Such/model"], CheckpointError),
        (["--device", "no-such-device"], ConfigError),
    ],
)
def test_what_is_wrong_is_said_before_the_env_is_played(tmp_path, monkeypatch, words, error):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(played, "collect", lambda run: pytest.fail("the env was played"))
    Path("run.yaml").write_bytes((ROOT / "configs/quickstart.yaml").read_bytes())
    ran = CliRunner().invoke(app, ["evaluate", "run.yaml", *words, "--output", "out"])
    assert isinstance(ran.exception, error)
    assert not Path("out").exists()


def test_an_env_is_not_played_for_rewards_that_see_other_frames(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Experiment, "from_file", lambda *_: pytest.fail("the env was made"))
    Path("run.yaml").write_bytes((ROOT / "configs/quickstart.yaml").read_bytes())
    other = yaml.safe_load(Path("run.yaml").read_text())["vlm_reward"]
    other["frames"]["source"] = "info:crop"
    Path("other.yaml").write_text(yaml.safe_dump(other))
    for command in ("evaluate", "landscape"):
        ran = CliRunner().invoke(app, [command, "run.yaml", "other.yaml", "--output", "out"])
        assert isinstance(ran.exception, RewardError)
        assert "'run, base': 'obs', 'other, base': 'info:crop'" in str(ran.exception)
        assert "--set vlm_reward.frames.source=obs" in str(ran.exception)


def test_frames_and_scores_are_kept_though_a_later_reward_fails(some, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(played, "collect", lambda run: some)
    load = models.load_model

    def refuse_small(config, **more):
        if config.encoder == "small":
            raise CheckpointError("no weights")
        return load(config, **more)

    monkeypatch.setattr(models, "load_model", refuse_small)
    Path("run.yaml").write_bytes((ROOT / "configs/quickstart.yaml").read_bytes())
    words = ["evaluate", "run.yaml", "--encoder", "base", "--encoder", "small", "--output", "out"]
    ran = CliRunner().invoke(app, words)
    assert isinstance(ran.exception, CheckpointError)
    assert "--frames out/frames.parquet" in ran.output
    assert len(LabelledFrames.load(Path("out/frames.parquet"))) == len(some)
    content = json.loads(Path("out/evaluation.json").read_text())
    assert [each["name"] for each in content["candidates"]] == ["run, base"]
    assert content["missing"] == ["run, small"]
    assert "Not scored: run, small." in Path("out/report.html").read_text()


def test_pictures_that_have_nothing_to_show_are_left_out(tmp_path):
    config = CONFIG.model_copy(update={"head": "cosine"})
    pixels = [encode(np.full((8, 8, 3), value, np.uint8)) for value in range(4)]
    frames = LabelledFrames.of(pixels, ["a ball", "a key"] * 2, [True, False, False, True])
    save(tmp_path, evaluate({"run": config}, frames))
    assert {path.stem for path in tmp_path.glob("*.png")} == {"precision_recall", "scores", "goals"}
