"""Real runs of the command line: killed, on a full disk, and two in one folder.

The long form, ``--chaos-seconds 3600``, kills ten times and fills the disk at each kind of file.
"""

import contextlib
import json
import random
import time
from pathlib import Path

import commands
import pytest
import yaml
from PIL import Image

from rllib_vlm_reward.run.progress import read_progress

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
PATIENCE_S = 600  # for a save; a run starts within a minute or two on a slow machine
STEPS = 64  # of an iteration
SAVE = "checkpoint.new/.new-"  # the progress and the list of files, the last two of a save
# What a run opens to write, and the components that RLlib saves (None): where the disk is full. The
# short form fills it at the first of them.
FULL_AT = [
    (SAVE, 2),  # the progress of the second save
    ("config.yaml", 0),
    ("events.out.tfevents", 0),
    ("-progress.jsonl", 0),
    ("checkpoint.new", None),
    ("checkpoint.new/learner_group", None),
    ("checkpoint.new/learner_group/learner/rl_module/default_policy", None),
    ("checkpoint.new/env_runner", None),
    ("returns.png", 0),
    ("agent.gif", 0),
    ("summary.json", 0),
]


@pytest.fixture(scope="module")
def run(cluster):
    """Runs commands on the session's Ray; each has a pool and an env runner of its own."""
    with commands.Commands(RAY_ADDRESS=cluster) as server:
        yield server


@pytest.fixture
def configuration(tiny_clip, tmp_path):
    """Returns a function: the path of a quick start in small that trains so many env steps."""

    def write(env_steps, **settings):
        config = yaml.safe_load(QUICKSTART.read_text())
        serving = {"num_cpus_per_actor": 1, "precision": "fp32"}
        config["vlm_reward"] |= {"encoder": tiny_clip, "serving": serving}
        config["env_runners"] = {"num_env_runners": 1, "num_envs_per_env_runner": 2}
        sizes = {"train_batch_size_per_learner": STEPS, "minibatch_size": STEPS, "num_epochs": 1}
        config["training"] |= sizes
        config |= {"stop": {"env_steps": env_steps}, "evaluation_episodes": 1}
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config | {"checkpoint_every": 1} | settings))
        return path

    return write


def saved(output):
    """Return the number of iterations in a checkpoint; 0 if there is none, as within a save."""
    with contextlib.suppress(FileNotFoundError):
        return len((output / "checkpoint" / "progress.jsonl").read_text().splitlines())
    return 0


def wait_for_a_save(output, before, log):
    """Wait until a run has saved once more."""
    deadline = time.monotonic() + PATIENCE_S
    while saved(output) <= before:
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.02)


def assert_whole(output, env_steps):
    history = read_progress(output / "progress.jsonl")
    assert [row.iteration for row in history] == list(range(1, len(history) + 1))
    steps = [row.env_steps for row in history]
    assert steps == sorted({*steps})
    assert steps[-1] >= env_steps
    assert json.loads((output / "summary.json").read_text())["env_steps"] == steps[-1]
    for name in ("returns.png", "agent.gif"):
        Image.open(output / name).load()
    assert not [*output.glob(".new-*")]


def test_a_run_is_doubled_killed_out_of_space_and_resumed(amount, run, configuration, tmp_path):
    draw, output, log = random.Random(0), tmp_path / "out", tmp_path / "log"
    kept = 0
    for number in range(amount.runs):
        words = ["train", configuration(10**6), "--output", output]
        command = run.start(*words, *["--resume"] * (number > 0), log=log)
        wait_for_a_save(output, kept, log)
        if number == 0:
            second = run.start(*words, "--resume", log=tmp_path / "second")
            assert second.wait() == 1
            assert f"process {command.pid} on " in (tmp_path / "second").read_text()
            wait_for_a_save(output, saved(output), log)  # the first goes on
        time.sleep(draw.uniform(0, 1))
        command.kill()
        kept = max(kept, saved(output))

    def resume(**how):
        enough = STEPS * (saved(output) + 2)
        command = run.start(
            "train", configuration(enough), "--output", output, "--resume", log=log, **how
        )
        return command.wait(), enough

    for name, number in FULL_AT if amount.runs > 1 else FULL_AT[:1]:
        log.write_text("")
        before = saved(output)
        status, _ = resume(full_at=(name, number))
        shown = log.read_text()
        assert status == 1, shown[-3000:]
        assert "File too large. Free space on the disk" in shown, shown[-3000:]
        assert "Traceback" not in shown, shown[-3000:]
        assert saved(output) >= before + (name == SAVE)
        print(f"the disk is full at {name}: {saved(output) - before} more iterations kept")
    status, enough = resume()
    assert status == 0, log.read_text()[-3000:]
    assert_whole(output, enough)
    print(f"{amount.runs} kills of a real run: {kept} iterations kept, 0 unresumable folders")
