"""What is wrong with files and folders is known before PyTorch is imported, without a traceback."""

import subprocess
import sys

import pytest

from rllib_vlm_reward import cli
from rllib_vlm_reward.cli.app import say_loading
from rllib_vlm_reward.cli.arguments import check_output, check_writable
from rllib_vlm_reward.errors import ConfigError


def run(*words):
    code = (
        "import sys; from rllib_vlm_reward.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )


def test_an_output_that_is_a_file_is_refused_before_pytorch(tmp_path):
    (tmp_path / "out").write_text("mine")
    done = run("train", "quickstart", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "is a file, expected a folder. Choose another --output" in done.stderr
    assert done.stderr.rstrip().endswith("False")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"goals: [a {b|c}]", b"\xff\xfea\x00", b"a: 1\na: 2"])
def test_a_file_that_is_no_yaml_is_refused_before_pytorch(tmp_path, content, capsys):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.yaml: "):
        say_loading(path)
    assert capsys.readouterr().err == ""


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


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root
    with pytest.raises(PermissionError, match=r"cannot be written. Change its permissions"):
        check_writable(tmp_path / "out")
