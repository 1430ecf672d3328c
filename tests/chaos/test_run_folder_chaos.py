"""Kills, full disks and a second process: the folder of a run can always be resumed.

The process here only saves and resumes a small folder; ``test_command_chaos.py`` has real runs.
"""

import random
import time

import pytest
import small_run
import strikes

MOST_CHANGES = 200  # of files, in the one resume and save of the tests below
PATIENCE_S = 60.0  # for a save


def resumable(path, before, after):
    """Check that a folder resumes from its last finished save, or from the one after it."""
    number = small_run.resumed(path)
    assert max(before, after) <= number <= after + 1
    return number


@pytest.mark.parametrize("act", [strikes.kill, strikes.refuse])
def test_at_each_change_of_a_file(act, tmp_path):
    """A resume with other settings and a save are struck before each change that they make."""
    number, codes = 0, []
    for change in range(MOST_CHANGES):
        hook = strikes.at_change(change, act)
        process, received = small_run.start(tmp_path, saves=1, stop=change + 2, hook=hook)
        number = resumable(tmp_path, number, small_run.finished(process, received, number))
        codes.append(process.exitcode)
        if process.exitcode == 0 and number > 1 and codes[-3:] == [0, 0, 0]:
            break
    struck = sum(code != 0 for code in codes)
    assert codes[-3:] == [0, 0, 0]  # there was nothing left to strike
    assert struck > 10


@pytest.mark.parametrize("largest_file", [0, 15, 150, 1_500, 15_000])
def test_on_a_disk_that_is_full_within_a_file(largest_file, tmp_path):
    process, received = small_run.start(tmp_path, saves=2)
    assert small_run.finished(process, received, 0) == 2
    process, received = small_run.start(tmp_path, saves=2, stop=9, largest_file=largest_file)
    assert small_run.finished(process, received, 2) == 2
    assert process.exitcode == 1
    assert resumable(tmp_path, 2, 2) == 2
    process, received = small_run.start(tmp_path, saves=1)
    assert small_run.finished(process, received, 2) == 3


def test_killed_at_any_time(amount, tmp_path):
    draw, number, codes = random.Random(0), 0, []
    for kill in range(amount.saves):
        process, received = small_run.start(tmp_path, stop=kill + 1)
        if kill % 2:  # on a busy machine, no process might come to save otherwise
            received.poll(PATIENCE_S)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        number = resumable(tmp_path, number, small_run.finished(process, received, number))
        codes.append(process.exitcode)
    print(
        f"{codes.count(-9)} kills of {len(codes)} processes: {number} saves, 0 unresumable folders"
    )
    assert codes.count(-9) > len(codes) * 0.9
    assert number > 10
    assert not [*tmp_path.glob(".new-*")]


def test_two_runs_in_one_folder(tmp_path):
    process, received = small_run.start(tmp_path)
    try:
        last = received.recv()
        for _ in range(50):
            with pytest.raises(FileExistsError, match=f"process {process.pid} on "):
                small_run.opened(tmp_path, 1)
    finally:
        process.kill()
    resumable(tmp_path, last, small_run.finished(process, received, last))
