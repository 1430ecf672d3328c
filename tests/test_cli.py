"""What the commands make of their arguments; the runs themselves are tested in their rooms."""

import errno
import os
import sys

import pytest
from typer.testing import CliRunner

from rllib_vlm_reward import cli, offline, pretraining
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.pretraining.scores import FamilyScores

SCORES = {"lift": FamilyScores(0.5, 0.25, 0.125, 0.0, 0.0, 0.0, 1, 1, 1)}


def test_train_clip_passes_its_options_on(monkeypatch, tmp_path):
    calls = []

    def train_clip(encoder, source, output, settings, *, report):
        calls.append((encoder, source.facts()["options"], output, settings))
        report(pretraining.Progress("train", 1, 7))
        return SCORES

    monkeypatch.setattr(pretraining, "train_clip", train_clip)
    arguments = ["train-clip", "base/random", "--output", str(tmp_path), "--steps", "7"]
    arguments += ["--env", "rllib_vlm_reward/Rooms-v0", "--env-config", "{max_steps: 9}"]
    result = CliRunner().invoke(cli.app, [*arguments, "--seed", "3", "--held-out", "red key"])
    assert result.exit_code == 0, result.exception
    source = """--env rllib_vlm_reward/Rooms-v0 --env-config '{"max_steps": 9}'"""
    settings = pretraining.Settings(steps=7, seed=3, held_out_things=("red key",))
    assert calls == [("base/random", source, tmp_path, settings)]
    assert all(number in result.output for number in ("0.5000", "0.2500", "0.1250"))


def test_train_clip_scores_again(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(
        pretraining,
        "score_clip",
        lambda source, folder, *, report: (
            calls.append((source.facts()["options"], folder)) or SCORES
        ),
    )
    arguments = ["train-clip", "base", "--output", str(tmp_path), "--score-only"]
    arguments += ["--env", "rllib_vlm_reward/Rooms-v0"]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert calls == [("--env rllib_vlm_reward/Rooms-v0", tmp_path)]
    refused = CliRunner().invoke(cli.app, [*arguments, "--steps", "7"])
    assert refused.exit_code == 2
    assert "--score-only takes the settings" in refused.output
    assert len(calls) == 1


MINIMAL = "environment: {env: CartPole-v1}\nstop: {env_steps: 1}"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("environment: {env: CartPole-v1}\nstop: {env_steps: 1}\n", "vlm_reward"),
        ("- a list\n", "expected a mapping"),
        ("a: [unclosed\n", "a: [unclosed"),
        (
            f"{MINIMAL}\nvlm_reward: "
            "{encoder: small, goals: [a], negatives: [b], threshold: 1.5}\n",
            "got 1.5",
        ),
        (f"{MINIMAL}\nvlm_reward: {{encoder: smalll, goals: [a, b]}}\n", "smalll"),
        (f"{MINIMAL.replace('v1', 'v9')}\nvlm_reward: {{encoder: small, goals: [a, b]}}\n", "v9"),
        ("enviroment: {}\n", "Did you mean 'environment'?"),
    ],
)
def test_an_error_is_one_message_without_a_traceback(monkeypatch, tmp_path, capsys, yaml, message):
    config = tmp_path / "config.yaml"
    config.write_text(yaml)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", "train", str(config)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == [config]  # nothing was begun


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space", "runs/a.png"), "runs/a.png: No space left on device."),
        (OSError(errno.EFBIG, "Error writing bytes to file"), "error: File too large."),
        (OSError(errno.EDQUOT, "Quota"), "Disk quota exceeded. Free space"),
    ],
)
def test_a_full_disk_is_one_message_without_a_traceback(monkeypatch, capsys, error, message):
    monkeypatch.setattr(cli, "app", lambda: raise_(error))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    shown = capsys.readouterr().err
    assert message in shown
    assert "--resume" in shown
    assert "Traceback" not in shown


def test_another_error_of_the_system_has_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "app", lambda: raise_(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        cli.main()


def raise_(error):
    raise error


# PyTorch and Ray, and what of ours imports them: this process has imported all of them already.
HEAVY = ["torch", "ray", *(f"rllib_vlm_reward.{name}" for name in ("evaluation.evaluate", "run"))]
HEAVY += [f"rllib_vlm_reward.{name}" for name in ("evaluation.calibrate", "offline")]


@pytest.fixture
def light(monkeypatch, tmp_path):
    """Returns a function that runs a command in which nothing heavy may be imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").touch()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "report.html").touch()
    (tmp_path / "frames.parquet").touch()
    for name in HEAVY:
        monkeypatch.setitem(sys.modules, name, None)
    return lambda *words: CliRunner().invoke(cli.app, words)


@pytest.mark.parametrize("command", ["collect", "calibrate", "evaluate", "landscape"])
def test_an_output_is_never_replaced(light, command):
    there = "there" if command in ("evaluate", "landscape") else "frames.parquet"
    frames = ["--frames", "frames.parquet"] if command == "calibrate" else []
    refused = light(command, "run.yaml", *frames, "--output", there).exception
    assert isinstance(refused, FileExistsError)
    assert str(refused) == f"{there} exists already. Choose another --output, or remove it."


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["calibrate", "--frames", "none"], "'none' does not exist"),
        (["evaluate", "--frames", "none"], "'none' does not exist"),
        (["landscape", "--frames", "none", "--episode", "x"], "'none' does not exist"),
        (["evaluate", "--encoder", "small", "--encoder", "small"], "small twice"),
        (["landscape", "./run.yaml"], "run.yaml twice"),
        (["calibrate", "--frames", "frames.parquet", "--precision", "95"], "95 % is 0.95"),
        (["calibrate", "--frames", "frames.parquet"], "expected one of the two"),
        (["evaluate", "quickstat"], "names that ship with the package: android, appo, cartpole"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_imported(light, words, says):
    told = light(*words, "run.yaml", "--output", "new")
    assert told.exit_code in (1, 2)
    assert says in " ".join(told.output.replace("│", "").split()) + str(told.exception)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("evaluate", ["--output", "new"]),
        ("landscape", ["--output", "new"]),
        ("calibrate", ["--output", "new", "--frames", "frames.parquet", "--precision", "0.9"]),
        ("score", ["--config"]),
        ("relabel", ["there", "new", "--config"]),
    ],
)
@pytest.mark.parametrize(
    ("yaml", "words", "says"),
    [
        ("encoder: [", [], "wrong.yaml: invalid YAML"),
        ("encoder: small\nencoder: base", [], "the key 'encoder' in line 1 and again in line 2"),
        ("{encoder: small, goals: [a, b], treshold: 1}", [], "Did you mean 'threshold'?"),
        ("{encoder: small, goals: [a, b]}", ["vlm_reward.threshold=2"], "threshold: got 2"),
        ("{encoder: small, goals: [a, b]}", ["threshold=2"], "It belongs in vlm_reward"),
    ],
)
def test_a_wrong_reward_is_found_before_anything_is_imported(
    light, tmp_path, command, options, yaml, words, says
):
    (tmp_path / "wrong.yaml").write_text(yaml)
    file = ["there/report.html"] if command == "score" else []
    sets = [word for each in words for word in ("--set", each)]
    refused = light(command, *file, *options, "wrong.yaml", *sets).exception
    assert isinstance(refused, ConfigError)
    assert says in str(refused)


PLAYING = {"collect": ["--output", "new"], "train": ["--output", "new"], "bench": []}


@pytest.mark.parametrize("command", PLAYING)
@pytest.mark.parametrize(
    ("reward", "words", "says"),
    [
        ("threshold: yes", [], "vlm_reward.threshold: got True, a boolean"),
        ("beta: 0.5", [], "It is called 'threshold' here. Rename it."),
        ("negatives: room", [], "vlm_reward.negatives: got the text 'room'"),
        ("seed: 1", [], "vlm_reward: unknown key 'seed'. It belongs in curriculum.propose or the"),
        ("threshold: 0.5", ["vlm_reward.threshold=2"], "vlm_reward: threshold: got 2"),
    ],
)
def test_a_wrong_reward_of_a_run_is_found_before_anything_is_imported(
    light, tmp_path, command, reward, words, says
):
    (tmp_path / "run.yaml").write_text(
        f"{MINIMAL}\nvlm_reward: {{encoder: small, goals: [a, b], {reward}}}"
    )
    sets = [word for each in words for word in ("--set", each)]
    refused = light(command, "run.yaml", *PLAYING[command], *sets).exception
    assert isinstance(refused, ConfigError)
    assert str(refused).startswith("run.yaml: ")
    assert says in str(refused)


@pytest.mark.parametrize("command", PLAYING)
def test_a_wrong_assignment_is_found_before_anything_is_imported(light, tmp_path, command):
    (tmp_path / "run.yaml").write_text("{seed: 0}")
    refused = light(command, "run.yaml", *PLAYING[command], "--set", "seed.of=1").exception
    assert isinstance(refused, ConfigError)
    assert "'seed' is 0, expected a mapping" in str(refused)


@pytest.mark.parametrize(
    "words",
    [
        ["collect", "--folder", "there", "--output", "new"],
        ["score", "frames.parquet", "--encoder", "small", "--goal", "a"],
        ["bench"],
    ],
)
def test_set_needs_a_config(light, words):
    refused = light(*words, "--set", "seed=1")
    assert refused.exit_code == 2
    assert "--set replaces a value of CONFIG" in " ".join(refused.output.replace("│", "").split())


def test_pygame_looks_for_no_sound_card(monkeypatch):
    monkeypatch.setenv("SDL_AUDIODRIVER", "")  # what is left afterwards is as it was
    monkeypatch.delenv("SDL_AUDIODRIVER")
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit):
        cli.main()
    assert (os.environ["SDL_AUDIODRIVER"], os.environ["SDL_VIDEODRIVER"]) == ("dummy", "x11")


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(monkeypatch, given):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit):
        cli.main()
    assert os.environ["OMP_WAIT_POLICY"] == (given or "PASSIVE")


def test_relabel_passes_its_arguments_on(monkeypatch, tmp_path):
    calls = []

    def relabel(config, recording, output, *, goal, report):
        calls.append((config.encoder, recording, output, goal))
        last = offline.Progress(4, 4, 1, 7, 2, 35, 0.25, 9)
        report(last)
        return last

    monkeypatch.setattr(offline, "relabel", relabel)
    config, recording = tmp_path / "config.yaml", tmp_path / "in"
    config.write_text("encoder: small\ngoals: [a ball, a key]\n")
    recording.mkdir()
    arguments = ["relabel", str(recording), str(tmp_path / "out"), "--config", str(config)]
    arguments += ["--set", "vlm_reward.encoder=base"]
    result = CliRunner().invoke(cli.app, [*arguments, "--goal", "a key"])
    assert result.exit_code == 0, result.exception
    assert calls == [("base", recording, tmp_path / "out", "a key")]
    assert '"steps": 35' in result.output
    assert "2 episodes have no end" in result.output
