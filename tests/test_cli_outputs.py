"""What is wrong with files and folders is known before PyTorch is imported, without a traceback."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from rllib_vlm_reward import cli
from rllib_vlm_reward.cli.arguments import check_output, check_writable
from rllib_vlm_reward.evaluation.labelled import LabelledFrames

TABLES = Path(__file__).parent / "cases" / "tables"
# Runs commands in a process in which PyTorch and Ray cannot be imported.
WITHOUT_TORCH = """
import contextlib, io, json, sys
sys.modules.update(torch=None, ray=None)
from rllib_vlm_reward.cli import main
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["rllib-vlm-reward", *words]
    with contextlib.redirect_stderr(io.StringIO()) as shown, contextlib.redirect_stdout(shown):
        try:
            main()
        except SystemExit as end:
            ended.append((end.code, shown.getvalue()))
print(json.dumps(ended))
"""


def without_torch(*commands):
    """Return exit code and output of each command; fails if one imports PyTorch or Ray."""
    words = json.dumps([[*map(str, command)] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert len(ended) == len(commands)
    return ended


def assert_refused(ended, message):
    code, shown = ended
    assert code == 1
    assert shown.startswith("error: ")
    assert message in shown
    assert "Traceback" not in shown


def test_an_output_that_is_a_file_is_refused_before_pytorch(tmp_path):
    (tmp_path / "out").write_text("mine")
    (ended,) = without_torch(["train", "quickstart", "--output", tmp_path / "out"])
    assert_refused(ended, "is a file, expected a folder. Choose another --output")


def test_a_file_that_is_no_yaml_is_refused_before_pytorch(tmp_path):
    contents = [b"goals: [a {b|c}]", b"\xff\xfea\x00", b"a: 1\na: 2"]
    commands = []
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.yaml").write_bytes(content)
        commands.append(["train", tmp_path / f"{number}.yaml", "--output", tmp_path / "new"])
    for number, ended in enumerate(without_torch(*commands)):
        assert_refused(ended, f"{number}.yaml: ")


def test_a_wrong_reward_is_refused_before_pytorch_by_every_command_that_reads_one(tmp_path):
    run, frames, new = tmp_path / "run.yaml", tmp_path / "frames.parquet", tmp_path / "new"
    run.write_text(
        "environment: {env: CartPole-v1}\nstop: {env_steps: 1}\n"
        "vlm_reward: {encoder: small, goals: [a, b], negatives: room}"
    )
    frames.touch()
    ends = without_torch(
        ["train", run, "--output", new],
        ["train", run, "--check"],
        ["collect", run, "--output", new],
        ["bench", run],
        ["evaluate", run, "--output", new],
        ["landscape", run, "--output", new],
        ["calibrate", run, "--output", new, "--frames", frames, "--precision", "0.9"],
        ["score", frames, "--config", run],
        ["relabel", tmp_path, new, "--config", run],
    )
    for ended in ends:
        assert_refused(ended, "negatives: got the text 'room', expected a list. Write [room].")
    assert not new.exists()


def test_a_wrong_folder_is_refused_before_pytorch_and_a_good_one_is_imported(tmp_path):
    says = {
        "header_only": "metadata.csv: got a header without rows",
        "cp1252": "metadata.csv, line 2: got text that is not UTF-8",
        "torn_jpeg": "metadata.csv, line 2, file_name: ",
        "utf_16": 'save the table as "CSV UTF-8"',
        "bomb": "this image is too large",
    }
    for name in ("header_only", "cp1252", "torn_jpeg"):
        shutil.copytree(TABLES / name, tmp_path / name)
    for name, encoding in (("utf_16", "utf-16"), ("bomb", "utf-8"), ("good", "utf-8")):
        (tmp_path / name).mkdir()
        table = "file_name,goal,label\nwhite.png,a wall,true\nblack.png,a wall,false\n"
        (tmp_path / name / "metadata.csv").write_text(table, encoding=encoding)
        for image, shade in (("white.png", 255), ("black.png", 0)):
            (tmp_path / name / image).write_bytes(png(8, shade))
    (tmp_path / "bomb" / "black.png").write_bytes(png(60_000))
    commands = [
        ["collect", "--folder", tmp_path / name, "--output", tmp_path / f"{name}.parquet"]
        for name in (*says, "good")
    ]
    *refused, imported = without_torch(*commands)
    for ended, message in zip(refused, says.values(), strict=True):
        assert_refused(ended, message)
    assert imported[0] == 0, imported[1]
    assert LabelledFrames.load(tmp_path / "good.parquet").labels.tolist() == [True, False]


def test_wrong_labelled_frames_are_refused_before_pytorch_by_every_command(tmp_path):
    image = {"bytes": png(8, 255), "path": None}
    row = {"image": image, "goal": "a wall", "label": True}
    tables = {
        "no_labels": ([{"image": image, "goal": "a wall"}], "Add ['label']."),
        "wrong_label": ([{**row, "label": 2}], "got the label 2 in row 0"),
        "wrong_type": ([{**row, "image": 7}], "the column 'image' has the type int64"),
        "empty_cell": ([row, {**row, "goal": None}], "1 rows have an empty 'goal'"),
    }
    for name, (rows, _) in tables.items():
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    says = {name: message for name, (_, message) in tables.items()}
    says |= {"header_only": "got the lengths", "csv": "cannot be read as Parquet"}
    none = pyarrow.Table.from_pylist([row]).slice(0, 0)
    pyarrow.parquet.write_table(none, tmp_path / "header_only")
    (tmp_path / "csv").write_text("image,goal,label\n")
    new = ["--output", tmp_path / "new"]
    commands = [
        words
        for name in says
        for words in (
            ["evaluate", "quickstart", "--frames", tmp_path / name, *new],
            ["calibrate", "quickstart", "--frames", tmp_path / name, "--precision", "0.9", *new],
            ["landscape", "quickstart", "--frames", tmp_path / name, "--episode", "0", *new],
        )
    ]
    ends = without_torch(*commands)
    for words, ended in zip(commands, ends, strict=True):
        assert_refused(ended, says[words[3].name])
    assert not (tmp_path / "new").exists()


def test_images_that_cannot_be_scored_are_refused_before_pytorch(tmp_path):
    contents = {"torn.png": png(8, 255)[:50], "text.png": b"text", "bomb.png": png(60_000)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    says = {
        "torn.png": "cannot be read as an image",
        "text.png": "unknown format",
        "bomb.png": "this image is too large",
    }
    good = tmp_path / "good.png"
    good.write_bytes(png(8, 255))
    commands = [["score", good, tmp_path / name, "--config", "quickstart"] for name in says]
    for name, ended in zip(says, without_torch(*commands), strict=True):
        assert_refused(ended, says[name])
        assert name in ended[1]


def png(side, shade=None):
    """A grey square as PNG; without a shade it has no pixels, only a header that promises them."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    found = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    )
    pixels = b"" if shade is None else bytes([0, *[shade] * side]) * side
    return found + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_a_tilde_is_the_home_folder_where_the_shell_leaves_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", "train", "quickstart", "--output=~/out"])
    with pytest.raises(SystemExit):
        cli.main()
    assert f"{tmp_path}/out is a file" in capsys.readouterr().err


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out"):
        with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
            check_output(path)
    check_writable(tmp_path / "new" / "deep")


WRITES = [
    ["train", "quickstart", "--output", "out"],
    ["collect", "quickstart", "--output", "out"],
    ["evaluate", "quickstart", "--output", "out"],
    ["landscape", "quickstart", "--output", "out"],
    ["calibrate", "quickstart", "--output", "out", "--frames", "frames", "--precision", "0.9"],
    ["play", ".", "--gif", "out"],
    ["bench", "--encoder", "small", "--picture", "out"],
]


@pytest.mark.parametrize("words", WRITES)
@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("x" * 300, "File name too long. Check the path"),
        ("broken/out", "broken is a link to gone, where nothing is. Mount its disk"),
        ("broken", "broken is a link to gone, where nothing is. Mount its disk"),
        ("circle/out", "circle/out: Too many levels of symbolic links. Check the path"),
    ],
)
def test_an_output_that_no_program_can_write_is_refused_at_once(
    tmp_path, monkeypatch, capsys, words, output, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").touch()
    (tmp_path / "broken").symlink_to("gone")
    (tmp_path / "circle").symlink_to("circle")
    for slow in ("rllib_vlm_reward.run", "rllib_vlm_reward.bench.bench"):
        monkeypatch.setitem(sys.modules, slow, None)  # so nothing can be played or measured
    monkeypatch.setattr(sys, "path", [*sys.path])
    given = [output if word == "out" else word for word in words]
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", *given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr().err
    assert end.value.code == 1
    assert says in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("words", WRITES)
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys, words):
    (tmp_path / "frames").touch()
    monkeypatch.chdir(tmp_path)
    # The tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode, **_: mode != os.W_OK)
    monkeypatch.setitem(sys.modules, "rllib_vlm_reward.run", None)  # so nothing can be played
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["rllib-vlm-reward", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    shown = capsys.readouterr().err
    assert end.value.code == 1
    assert shown.startswith("error: out: ")
    assert "cannot be written. Change its permissions, or choose another path." in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "ending"),
    [(["play", ".", "--gif"], ".gif"), (["bench", "--encoder", "small", "--picture"], ".png")],
)
@pytest.mark.parametrize("name", ["agent.mp4", "agent.jpg", "agent"])
def test_a_picture_of_another_format_is_refused_at_once(tmp_path, monkeypatch, words, ending, name):
    monkeypatch.chdir(tmp_path)
    for slow in ("rllib_vlm_reward.run.play", "rllib_vlm_reward.bench.bench"):
        monkeypatch.setitem(sys.modules, slow, None)  # so nothing can be played or measured
    ran = CliRunner().invoke(cli.app, [*words, name])
    assert ran.exit_code == 2
    assert f"got {name}, expected a name that ends with {ending}." in " ".join(ran.output.split())
