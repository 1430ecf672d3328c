"""Every command and every YAML of the docs and the README is accepted, without running it.

The commands are parsed by the program's own parsers, and stop after their first checks. The config
that a command names is built. What needs a GPU or a cluster is marked in the text as not run.
"""

import argparse
import contextlib
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml
from pages import PAGES, ROOT, blocks, code_of, commands, files_of
from PIL import Image
from typer.testing import CliRunner

from rllib_vlm_reward import Experiment, VLMRewardConfig
from rllib_vlm_reward.cli import app
from rllib_vlm_reward.config import read_config
from rllib_vlm_reward.config.calibration import Calibration
from rllib_vlm_reward.evaluation import image_folder
from rllib_vlm_reward.evaluation.env_states import Axis
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.user_metrics import load_metrics
from rllib_vlm_reward.reward_model.encoder import check_encoder
from rllib_vlm_reward.reward_model.heads import head_summary
from rllib_vlm_reward.settings import find_config

COMMANDS = typer.main.get_command(app).commands
PROGRAM = "rllib-vlm-reward"
# What the reader has already: from an earlier command, or of their own.
FILES = ("runs/frames.parquet", "runs/my_frames.parquet", "frame.png", "other.jpg")
FOLDERS = ("recorded", "my_frames", "runs/quickstart", "runs/house", "RUN")
RUNS = (
    "a.yaml",
    "balls.yaml",
    "b.yaml",
    "CONFIG.yaml",
    "runs/goal_curriculum/best.yaml",
    "runs/sweep/best.yaml",
)
PLACEHOLDERS = {"N": "0"}  # for a seed
# What CI has not, or does itself before it runs the tests.
NEEDS_A_CLUSTER = ("docker", "kubectl", "ray", "benchmarks/gpu.sh", "emulator")
OTHERS = ("python3", "pip", "apt-get", "pytest", "mkdir", "cd", "export", ".", ".ci/ray_version")
NEEDS_A_GPU = re.compile(r"--device cuda|num_gpus_per_\w+[:=] ?[1-9]")
MARK = re.compile(r"\bnot\s+run\b", re.IGNORECASE)
# The part of a run that a page's YAML completes, where that is not the quickstart.
WHOLE = {
    "curricula": "playroom",
    "from-env-to-sweep": "run.yaml",
    "hints": "playroom",
    "multi-agent": "run.yaml",
}
PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


class ParsedError(Exception):
    """The parser accepted the command, and its work would begin."""


@pytest.fixture
def reader(page, tmp_path, monkeypatch):
    """The folder of a reader who has followed the page so far."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    files = files_of(page) | dict.fromkeys(FILES, "")
    files |= dict.fromkeys(RUNS, find_config("quickstart").read_text())
    files["my_package.py"] = (
        "from ray.rllib.callbacks.callbacks import RLlibCallback as MyCallbacks\n"
        "def note(**kwargs): ...\n"
    )
    for folder in FOLDERS:
        Path(folder).mkdir(parents=True)
    Path("clip").symlink_to(ROOT / "rllib_vlm_reward" / "reward_model" / "checkpoints" / "small")
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    for name in ("frame.png", "other.jpg"):  # which `score` reads before its work begins
        Image.new("RGB", (8, 8)).save(name)
    yield tmp_path
    for name in files:
        sys.modules.pop(Path(name).stem, None)


@pytest.fixture
def stopped(monkeypatch):
    """Commands and scripts stop where their work would begin."""

    def stop(*args, **kwargs):
        raise ParsedError

    def parse_args(parser, *args, **kwargs):
        real(parser, *args, **kwargs)
        raise ParsedError

    real = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    for name in COMMANDS:
        module = sys.modules[f"rllib_vlm_reward.cli.{name.replace('-', '_')}"]
        if hasattr(module, "say_loading"):
            monkeypatch.setattr(module, "say_loading", stop)
    # These files are read before PyTorch is loaded.
    monkeypatch.setattr(image_folder, "read_folder", stop)
    monkeypatch.setattr(LabelledFrames, "load", stop)


def words_of(command):
    """Return the words of a command, for the program itself where Ray submits it."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)]
    if words[0] == "ray" and "--" in words:
        words = words[words.index("--") + 1 :]
    return [words[0].removeprefix(".venv/bin/"), *words[1:]]


def parse(words):
    """Return what the command of the program takes from its words."""
    name, *arguments = words
    with COMMANDS[name].make_context(name, arguments) as context, _without(context.params):
        with pytest.raises(ParsedError):
            COMMANDS[name].invoke(context)
        return context.params


@contextlib.contextmanager
def _without(params):
    """Take away the file that a command writes, which later commands read."""
    output = params.get("output")
    is_file = output is not None and output.is_file()
    if is_file:
        output.unlink()
    yield
    if is_file:
        output.touch()


def build(params):
    """Build what the command names, up to the weights of a CLIP."""
    paths = params.get("configs") or [params.get("config")]
    for path in filter(None, paths):
        if "stop" in yaml.safe_load(path.read_text()):
            run = Experiment.from_file(path, params.get("assignments") or ())
            run.to_algorithm_config()
            reward = run.vlm_reward
        else:
            reward = read_config(path)
        check_encoder(reward.encoder, reward.serving.precision)
    encoders = params.get("encoder") or ()
    for encoder in [encoders] if isinstance(encoders, str) else encoders:
        check_encoder(encoder)
    for axis in params.get("grid") or ():
        Axis.parse(axis)
    load_metrics(params.get("metric") or [])


def run_script(words, monkeypatch):
    """Run a script up to the parsing of its options."""
    script = ROOT / words[0]
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(ParsedError):
        runpy.run_path(str(script), run_name="__main__")


@PAGE
def test_its_commands_are_accepted(page, reader, stopped, monkeypatch):
    for command, _ in commands(page):
        program, *words = words_of(command.replace("/shared/", f"{reader}/"))
        if program == PROGRAM:
            build(parse(words))
        elif program == "python" and words[0].startswith("docs/"):  # it draws or writes a page
            assert (ROOT / words[0]).is_file()
        elif program == "python":
            run_script(words, monkeypatch)
        else:
            assert program in (*NEEDS_A_CLUSTER, *OTHERS), command


def test_a_command_that_cannot_run_is_not_accepted(tmp_path, stopped, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wrong in ("train quickstat", "train quickstart --sed 3", "collect --output a.parquet"):
        assert CliRunner().invoke(app, wrong.split()).exit_code == 2
    with pytest.raises(ValueError, match="threshhold"):
        build(parse(["train", "quickstart", "--set", "vlm_reward.threshhold=0.6"]))
    with pytest.raises(SystemExit):
        run_script(["benchmarks/rollout.py", "--modell", "small"], monkeypatch)


def test_what_the_script_for_a_gpu_runs_is_accepted(stopped, monkeypatch):
    script = ROOT / "benchmarks" / "gpu.sh"
    planned = subprocess.run([script, "out", "--dry-run"], capture_output=True, text=True)
    lines = planned.stdout.splitlines()
    assert len(lines) >= 7
    for line in lines:
        run_script(shlex.split(line.partition(" python ")[2]), monkeypatch)


def completed(page, given):
    """Return a run, with the settings of a part of one in place of its own."""
    whole = WHOLE.get(page.stem, "quickstart")
    settings = yaml.safe_load(find_config(whole).read_text())

    def put(part, into):
        for key, value in part.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                put(value, into[key])
            else:
                into[key] = value

    if given.get("environment", {}).get("env") != settings["environment"]["env"]:
        settings["environment"].pop("env_config", None)  # of another env
    put(given, settings)
    if "calibration" in settings["vlm_reward"]:  # in place of threshold, as the page says
        del settings["vlm_reward"]["threshold"]
    return settings


def save_calibration(path):
    """Write a calibration of the quickstart's reward, with figures that nobody measured."""
    reward = Experiment.from_file("quickstart").vlm_reward
    one = {"value": 0.5, "low": 0.5, "high": 0.5}
    Calibration(
        version=2,
        encoder=reward.encoder,
        weights="a" * 64,
        encoder_precision="fp32",
        frame_source=reward.frames.source,
        head=head_summary(reward.head),
        head_sha256=reward.head.digest(),
        goals=reward.goal_set.texts,
        statements=reward.goal_set.statements,
        goals_sha256=reward.goal_set.fingerprint,
        threshold=one,
        target={"precision": 0.95},
        precision=one,
        recall=one,
        false_positives=one,
        frames=1000,
        successes=100,
        episodes=60,
    ).save(path)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if code_of(page, "yaml")], ids=lambda page: page.stem
)
def test_its_yaml_is_a_run_or_completes_one(page, reader):
    save_calibration(Path("runs/calibration.yaml"))
    for block in blocks(page):
        if block.language != "yaml":
            continue
        settings = yaml.safe_load(block.text)
        if "words" in settings:  # a grammar
            VLMRewardConfig(encoder="base", goals=block.name)
            continue
        if "stop" not in settings:
            settings = completed(page, settings)
        run = Experiment.model_validate(settings)
        if "emulator" in settings["environment"].get("env_config", {}):
            continue  # which CI has not
        run.to_algorithm_config()
        check_encoder(run.vlm_reward.encoder, run.vlm_reward.serving.precision)


@PAGE
def test_what_ci_does_not_run_says_so(page):
    needy = [
        block
        for command, block in commands(page)
        if command.split()[0] in NEEDS_A_CLUSTER or NEEDS_A_GPU.search(command)
    ]
    needy += [block for block in blocks(page) if NEEDS_A_GPU.search(block.text)]
    for block in needy:
        if block.language in ("sh", "yaml", "indented"):
            assert MARK.search(block.section), f"{page.name}: {block.text}"
