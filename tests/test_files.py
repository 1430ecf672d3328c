import errno
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys

import pytest

from rllib_vlm_reward.files import FolderLock, replaced_file, reserve_file, write_text

HOLDS = """
import sys, time
from pathlib import Path
from rllib_vlm_reward.files import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.csv"
    write_text(path, "old")

    def write_half():
        with replaced_file(path) as fresh:
            fresh.write_text("ne")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_half()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(path.name, "old")]


def test_the_new_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "results.png"
    with replaced_file(path) as fresh:
        fresh.write_text("complete")
        assert fresh.suffix == ".png"  # Pillow and Matplotlib read the format from it
        assert not path.exists()
    assert path.read_text() == "complete"


def test_an_equal_file_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    write_text(path, "same")
    before = path.stat()
    write_text(path, "same")
    with replaced_file(path) as fresh:
        fresh.write_text("same")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_text(path, "else")
    assert path.read_text() == "else"


def test_a_link_stays_a_link(tmp_path):
    link, target = tmp_path / "link.txt", tmp_path / "far" / "target.txt"
    link.symlink_to(target)
    write_text(link, "text")
    assert link.is_symlink()
    assert target.read_text() == "text"


def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path):
    stale = tmp_path / ".new-1-config.yaml"
    stale.touch()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "locked\n"
        assert not stale.exists()
        with pytest.raises(
            FileExistsError, match=f"process {other.pid} on {socket.gethostname()} is writing"
        ):
            FolderLock(tmp_path)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    with FolderLock(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_two_locks_in_one_process_exclude_each_other(tmp_path):
    with FolderLock(tmp_path), pytest.raises(FileExistsError, match="choose another --output"):
        FolderLock(tmp_path / ".." / tmp_path.name)
    FolderLock(tmp_path).release()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    lock, end = FolderLock(tmp_path), multiprocessing.get_context("fork").Event()
    child = multiprocessing.get_context("fork").Process(target=end.wait, args=(60,))
    child.start()
    try:
        lock.release()
        code = "import sys; from pathlib import Path; from rllib_vlm_reward.files import FolderLock"
        code += "; FolderLock(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    finally:
        end.set()
        child.join()


@pytest.mark.parametrize("has_fallocate", [True, False])
def test_a_reserved_file_has_its_space_on_the_disk(tmp_path, monkeypatch, has_fallocate):
    if not has_fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path, size = tmp_path / "frames.bin", 3_000_001
    path.write_bytes(b"of an earlier process")
    reserve_file(path, size)
    assert path.read_bytes() == bytes(size)
    assert path.stat().st_blocks * 512 >= size  # a file that only has a length has no blocks


@pytest.mark.parametrize("has_fallocate", [True, False])
def test_space_that_is_missing_is_an_error_that_leaves_no_file(
    tmp_path, monkeypatch, has_fallocate
):
    if not has_fallocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large for 3,000,000 bytes") as raised:
            reserve_file(tmp_path / "frames.bin", 3_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.errno == errno.EFBIG
    assert raised.value.filename == str(tmp_path / "frames.bin")
    assert [*tmp_path.iterdir()] == []
