import dataclasses

import pyarrow.parquet
import pytest

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.offline.folder import Folder, Report, UnitFile
from rllib_vlm_reward.offline.units import Unit

UNIT = Unit("room/0.parquet", 0, rows=2, size=10, file_size=99)
REPORT = Report(UNIT.name, 99, "weights", 2, 0, 12, 1.5, 3)


def finish(folder, report=REPORT):
    file = UnitFile(folder, UNIT)
    file.write(b"one")
    file.write(b"two")
    file.close(report)


def test_a_file_has_its_name_when_it_is_complete(tmp_path):
    file = UnitFile(tmp_path, UNIT)
    file.write(b"one")
    assert not (tmp_path / UNIT.name).exists()
    file.close(REPORT)
    table = pyarrow.parquet.read_table(tmp_path / UNIT.name)
    assert table["item"].to_pylist() == [b"one"]
    file.abandon(KeyboardInterrupt())  # too late
    assert (tmp_path / UNIT.name).exists()


def test_what_a_killed_run_left_is_removed_and_what_it_finished_is_known(tmp_path, vlm_config):
    folder = Folder(tmp_path / "out", vlm_config(), None)
    finish(folder.path)
    unfinished = UnitFile(folder.path, UNIT)  # and never closed
    assert len(list(folder.path.rglob(".new-*"))) == 1
    assert Folder(folder.path, vlm_config(), None).finished([UNIT]) == [REPORT]
    assert not list(folder.path.rglob(".new-*"))
    unfinished.abandon(KeyboardInterrupt())


def test_an_abandoned_file_leaves_nothing(tmp_path):
    file = UnitFile(tmp_path, UNIT)
    file.write(b"one")
    file.abandon(KeyboardInterrupt())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("changes", "goal", "named"),
    [
        ({"threshold": 0.5}, None, "threshold: None, now 0.5"),
        ({"serving": {"precision": "bf16"}}, None, "precision"),
        ({"goals": ["a red wall", "a door"]}, None, "goals.*scorer"),
        ({"env_reward_weight": 1.0}, None, "env_reward_weight"),
        ({}, "a red wall", "goal: None, now 'a red wall'"),
    ],
)
def test_another_reward_is_refused_and_named(tmp_path, vlm_config, changes, goal, named):
    Folder(tmp_path, vlm_config(), None)
    with pytest.raises(ConfigError, match=named):
        Folder(tmp_path, vlm_config(**changes), goal)


def test_where_it_is_computed_may_change(tmp_path, vlm_config):
    Folder(tmp_path, vlm_config(), None)
    Folder(
        tmp_path, vlm_config(mode="deferred", serving={"num_actors": 3, "max_batch_size": 7}), None
    )


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, vlm_config):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="something else"):
        Folder(tmp_path, vlm_config(), None)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "units",
    [[], [dataclasses.replace(UNIT, source="room/1.parquet")],
     [dataclasses.replace(UNIT, file_size=100)]],
)  # fmt: skip
def test_files_of_another_recording_are_refused(tmp_path, vlm_config, units):
    folder = Folder(tmp_path, vlm_config(), None)
    finish(folder.path)
    with pytest.raises(ConfigError, match="not belong to this recording"):
        folder.finished(units)
