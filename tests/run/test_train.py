"""One tiny run through the command line, and what it leaves in its folder."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import fork_server
import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from rllib_vlm_reward.cli import app
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.run import Experiment, loop
from rllib_vlm_reward.run.progress import FIGURES, Progress, read_progress

pytestmark = pytest.mark.usefixtures("cluster")
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def write_config(tiny_clip, shared_pool):
    """Returns a function: writes a small quick start, with changes, to a path and returns it."""

    def write(path, **settings):
        config = small_quickstart()
        serving = {"pool_name": shared_pool, "precision": "fp32"}
        config["vlm_reward"] |= {"encoder": tiny_clip, "serving": serving}
        path.write_text(yaml.safe_dump(config | settings))
        return path

    return write


def small_quickstart():
    """Return the quick start with few steps, as a mapping."""
    config = yaml.safe_load(QUICKSTART.read_text())
    config["vlm_reward"] |= {"encoder": "small", "mode": "synchronous"}
    config["env_runners"] = {"num_env_runners": 0, "num_envs_per_env_runner": 8}
    config["training"] |= {"train_batch_size_per_learner": 256, "num_epochs": 1}
    return config | {"stop": {"env_steps": 512}, "evaluation_episodes": 5, "checkpoint_every": 1}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(write_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder / "config.yaml")
    result = run("train", config, "--output", folder / "out")
    assert result.exit_code == 0, (result.output, result.exception)
    return config, folder / "out", result.output


def test_the_folder_holds_what_was_promised(trained):
    _, out, _ = trained
    summary = json.loads((out / "summary.json").read_text())
    assert summary["env_steps"] >= 512
    assert summary["evaluation_episodes"] == 5
    for key in ("ground_truth_success", "random_policy_success", "goal_blind_success"):
        assert 0 <= summary[key] <= 1
    assert {"wall_seconds", "vlm_return_mean", "seed"} <= summary.keys()
    assert Image.open(out / "returns.png").size[0] > 500
    assert Image.open(out / "agent.gif").n_frames > 6
    assert (out / "checkpoint").is_dir()


def test_tensorboard_shows_scalars_and_frames(trained):
    _, out, _ = trained
    events = EventAccumulator(str(out)).Reload()
    tags = events.Tags()
    assert "VLM_reward/episode" in tags["images"]
    every = [*tags["scalars"], *tags["images"], *tags["histograms"]]
    assert min(every).startswith("VLM_reward")
    assert {tag.partition("/")[0] for tag in every} >= {"VLM_reward", "env_runners", "rllib"}
    assert not [tag for tag in every if "/" not in tag]
    first = [f"VLM_reward/{name}" for name in ("vlm_return_mean", "ground_truth_success")]
    for name in (*first, "VLM_reward/env_steps_per_second", "env_runners/vlm_reward/score_mean"):
        values = [event.value for event in events.Scalars(name)]
        assert values
        assert np.isfinite(values).all()


def test_progress_is_shown_with_eta_and_both_returns(trained):
    output = trained[2]
    assert "ETA" in output
    for figure in FIGURES:
        assert figure.replace("_", " ") in output


def test_the_last_line_gives_the_evaluation_under_the_names_of_the_summary(trained):
    _, out, output = trained
    summary = json.loads((out / "summary.json").read_text())
    last = output.strip().splitlines()[-1]
    for figure in ("ground_truth_success", "false_positives_per_episode"):
        assert f"{figure.replace('_', ' ')} {summary[figure]:.3f}" in last


def test_a_finished_run_is_not_overwritten(trained):
    config, out, _ = trained
    result = run("train", config, "--output", out)
    assert isinstance(result.exception, FileExistsError)
    assert "--resume" in str(result.exception)


def test_resume_goes_on_where_the_checkpoint_stopped(trained, write_config, tmp_path):
    _, out, _ = trained
    before = read_progress(out / "progress.jsonl")
    longer = write_config(tmp_path / "longer.yaml", stop={"env_steps": 1000})
    result = run("train", longer, "--output", out, "--resume")
    assert result.exit_code == 0, (result.output, result.exception)
    after = read_progress(out / "progress.jsonl")
    assert after[: len(before)] == before
    assert [row.iteration for row in after] == list(range(1, len(after) + 1))
    steps = [row.env_steps for row in after]
    assert steps == sorted(steps)
    assert 1000 <= steps[-1] < 1600
    first = after[len(before)]
    own = (first.env_steps - before[-1].env_steps) / (first.wall_seconds - before[-1].wall_seconds)
    assert first.env_steps_per_second == pytest.approx(own, rel=0.05)


def test_resume_with_another_reward_is_refused(trained, write_config, tmp_path):
    _, out, _ = trained
    other = write_config(tmp_path / "other.yaml", seed=7)
    result = run("train", other, "--output", out, "--resume")
    assert isinstance(result.exception, ConfigError)
    assert "seed" in str(result.exception)


def test_resume_without_a_checkpoint_says_so(write_config, tmp_path):
    result = run("train", write_config(tmp_path / "c.yaml"), "--output", tmp_path / "o", "--resume")
    assert isinstance(result.exception, FileNotFoundError)
    assert "no checkpoint" in str(result.exception)


def test_a_run_that_was_killed_is_resumed(cluster, write_config, tmp_path):
    """A process of its own: what a kill leaves is all that the next one gets."""

    def config(env_steps):
        settings = {"stop": {"env_steps": env_steps}, "evaluation_episodes": 1}
        return write_config(tmp_path / "config.yaml", **settings)

    out = tmp_path / "out"
    code = "from rllib_vlm_reward.cli import main; main()"
    with (tmp_path / "log").open("w") as log:
        command = subprocess.Popen(
            [*fork_server.python(), "-c", code, "train", config(10**6), "--output", out],
            env={**os.environ, "RAY_ADDRESS": cluster},
            stdout=log,
            stderr=log,
        )
        while not (out / "checkpoint" / "progress.jsonl").exists():
            assert command.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.05)
        # The process that was forked, which the lock names.
        pid = int(re.search(r"process (\d+) on", (out / ".lock").read_text())[1])
        os.kill(pid, signal.SIGKILL)
        assert command.wait(timeout=60) == -signal.SIGKILL
    killed = read_progress(out / "progress.jsonl")
    enough = killed[-1].env_steps + 1
    result = run("train", config(enough), "--output", out, "--resume")
    assert result.exit_code == 0, (result.output, result.exception)
    after = read_progress(out / "progress.jsonl")
    assert after[: len(killed) - 1] == killed[:-1]  # the last one may not have been saved
    assert [row.iteration for row in after] == list(range(1, len(after) + 1))
    steps = [row.env_steps for row in after]
    assert steps == sorted({*steps})
    assert steps[-1] >= enough
    assert not [*out.rglob(".new-*")]


SAVED = "saved after iteration 1: resume with --resume"


def interrupt(*_):
    raise KeyboardInterrupt  # no signal: a shell's background jobs ignore SIGINT


def terminate(*_):
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("strike", "raised"), [(interrupt, KeyboardInterrupt), (terminate, SystemExit)]
)
def test_an_interrupt_saves_what_was_trained(write_config, tmp_path, monkeypatch, strike, raised):
    news, out = [], tmp_path / "out"
    experiment = Experiment.from_file(write_config(tmp_path / "c.yaml", checkpoint_every=100))

    def report(it):
        news.append(it)
        if isinstance(it, Progress):
            strike()

    with monkeypatch.context() as first:
        first.setattr(loop, "iterate", strike)
        with pytest.raises(raised):
            loop.train(experiment, out, report=report)
    assert "nothing to save" in news[-1]
    assert not (out / "checkpoint").exists()

    with pytest.raises(raised):
        loop.train(experiment, out, report=report)  # the folder is free
    assert news[-2:] == ["interrupted: saving a checkpoint", SAVED]
    assert [row.iteration for row in read_progress(out / "checkpoint" / "progress.jsonl")] == [1]


def test_the_learners_process_keeps_the_memory_that_it_frees(write_config, tmp_path, monkeypatch):
    """Else half of a learner's time goes into getting it again; tests/serving/test_lanes.py."""

    class Kept(Exception):
        pass

    def keep():
        raise Kept

    monkeypatch.setattr(loop, "keep_freed_memory", keep)
    with pytest.raises(Kept):
        loop.train(Experiment.from_file(write_config(tmp_path / "c.yaml")), tmp_path / "run")


def test_help_teaches():
    assert "train-clip" in run("--help").output
    text = run("train", "--help").output
    assert "CONFIG" in text
    assert "Example" in text
