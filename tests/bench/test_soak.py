"""The soak finds what grows: made-up samples of a process that leaks, and real processes."""

import json
import mmap
import os
import socket
import subprocess
import sys

import processes
import pytest
import soak

from rllib_vlm_reward.run.progress import Progress
from rllib_vlm_reward.serving.shared_memory.protocol import Segment

STEPS = 10_000  # frames between two samples


def held(name, **changes):
    given = {"private_mib": 100.0, "shared_mib": 1.0, "files": 9, "sockets": 9, "references": 9}
    return {"name": name, **given, **changes}


def made_up(count=50, **growth):
    """Samples of a driver that stays as it is, two env runners, of which one grows, and a worker
    that ends."""
    samples = []
    for number in range(count):
        grown = {key: held("")[key] + number * more for key, more in growth.items()}
        found = {
            "1": held("driver", private_mib=100.0 + 30 * (number % 2)),  # up and down, as a learner
            "2": held("env runner"),
            "3": held("env runner", **grown),
        }
        if number < 10:
            found["4"] = held("IDLE", references=None)
        taken = {"seconds": 10.0 * number, "frames": STEPS * number, "processes": found}
        samples.append({**taken, "store_mib": 1.0, "store_objects": 3})
    return samples


@pytest.mark.parametrize(
    ("growth", "slope"),
    [
        ({"private_mib": 0.3}, 3.0),
        ({"shared_mib": 0.3}, 3.0),
        ({"files": 1}, 10.0),
        ({"sockets": 1}, 10.0),
    ],
    ids=["memory", "shared memory", "files", "sockets"],
)
def test_what_grows_is_named_and_nothing_else(growth, slope):
    figures = soak.figures(made_up(**growth), warm=50_000)
    (field,) = growth
    assert {k: v for k, v in figures["grew_too_much"].items() if v} == {field: ["env runner 2"]}
    assert figures["processes"]["env runner 2"][field]["slope_per_100k_frames"] == slope
    assert figures["processes"].keys() == {"driver", "env runner 1", "env runner 2"}
    assert figures["processes_that_came_or_went"] == 1


def test_growth_before_the_fit_does_not_count():
    samples = made_up()
    for taken in samples[:6]:
        taken["processes"]["2"]["private_mib"] = 20.0 * taken["frames"] / STEPS
    assert not any(soak.figures(samples, warm=50_000)["grew_too_much"].values())
    assert soak.figures(samples, warm=-1)["grew_too_much"]["private_mib"] == ["env runner 1"]


def test_too_few_samples_are_an_error():
    with pytest.raises(SystemExit, match="got 2 samples after 20000 frames"):
        soak.figures(made_up(5), warm=20_000)


def test_samples_are_appended_and_the_end_comes_once(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "sample", lambda: {"processes": {}})
    path = tmp_path / "samples.jsonl"
    progress = Progress(1, 2048, 1.0, *[None] * 4, 1.0)
    late = soak.Sampler(path, hours=1, every=1000)
    late("building")
    late(progress)
    late(progress)  # too early for another sample
    assert [json.loads(line)["frames"] for line in path.read_text().splitlines()] == [2048]
    over = soak.Sampler(path, hours=0, every=0)
    with pytest.raises(soak.TimeIsUp):
        over(progress)
    over("saving a checkpoint")
    over(progress)
    assert len(path.read_text().splitlines()) == 3


def test_the_picture_is_drawn(tmp_path):
    soak.draw(tmp_path / "docs" / "soak.png", made_up(), warm=50_000)
    assert (tmp_path / "docs" / "soak.png").stat().st_size > 10_000


def test_files_sockets_and_memory_of_a_process_are_counted(tmp_path):
    pid = os.getpid()
    files, sockets = processes.descriptors(pid)
    before = processes.private_kib(pid)
    with (tmp_path / "file").open("w"), socket.socket():
        assert processes.descriptors(pid) == (files + 1, sockets + 1)
    # Not from malloc, which may have kept as much that earlier tests freed.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 50_000_000, flags=private) as filled:
        filled[:] = bytes(50_000_000)
        assert 40_000 < processes.private_kib(pid) - before < 110_000


def test_memory_that_was_freed_and_kept_is_given_back():
    pid = os.getpid()
    blocks = [bytes(100_000) for _ in range(500)]  # each below malloc's limit for large ones
    del blocks[:-1]  # the last one keeps malloc from giving back the others by itself
    before = processes.private_kib(pid)
    soak.give_back()
    assert before - processes.private_kib(pid) > 30_000
    assert len(blocks) == 1


def test_the_memory_of_a_request_counts_as_shared_memory_and_not_as_a_file():
    pid = os.getpid()
    files, before = processes.descriptors(pid)[0], processes.shared_memory_kib(pid)
    segment = Segment(0, 20_000_000)
    segment.views((100, 200, 200)).frames[:] = 1
    assert processes.descriptors(pid)[0] == files
    assert 11_000 < processes.shared_memory_kib(pid) - before < 20_000


def test_processes_below_a_process_are_found_until_they_end():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        while len(found := processes.tree(child.pid)) < 2:
            assert child.poll() is None
        assert [title.rpartition(" ")[2] for title in found.values()][1] == "input()"
        assert found.keys() < processes.tree(os.getpid()).keys()
    finally:
        child.communicate(b"\n", timeout=30)
    assert not processes.tree(child.pid)
    assert processes.descriptors(child.pid) == (0, 0)
