import pyarrow
import pyarrow.parquet
import pytest

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.offline import units
from rllib_vlm_reward.offline.units import Unit, bundle, find_units


def write(path, rows=7, rows_in_group=3, column="item"):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({column: pyarrow.array([b"x" * 100] * rows, pyarrow.binary())})
    pyarrow.parquet.write_table(table, path, row_group_size=rows_in_group)


def test_each_row_group_of_each_file_is_one_in_order(tmp_path):
    for name in ("room/run-2/0.parquet", "room/run-1/0.parquet"):
        write(tmp_path / name)
    write(tmp_path / "room/_hidden/0.parquet")
    write(tmp_path / "room/.0.parquet")
    (tmp_path / "room/notes.json").write_text("{}")
    found = find_units(tmp_path)
    assert [(unit.source, unit.group, unit.rows) for unit in found] == [
        (f"room/run-{run}/0.parquet", group, rows)
        for run in (1, 2)
        for group, rows in ((0, 3), (1, 3), (2, 1))
    ]
    assert len({unit.name for unit in found}) == 6


def test_one_file_may_be_given(tmp_path):
    write(tmp_path / "0.parquet", rows=2)
    (unit,) = find_units(tmp_path / "0.parquet")
    assert (unit.source, unit.name) == ("0.parquet", "0.00000.parquet")


def test_nothing_recorded(tmp_path):
    with pytest.raises(FileNotFoundError, match="output_write_episodes=True"):
        find_units(tmp_path)


def test_files_without_a_row_are_no_recording(tmp_path):
    write(tmp_path / "0.parquet", rows=0)
    with pytest.raises(ConfigError, match="1 parquet files without a row, expected episodes"):
        find_units(tmp_path)
    write(tmp_path / "1.parquet", rows=1)
    assert sum(unit.rows for unit in find_units(tmp_path)) == 1


def test_rows_of_steps_are_refused_with_the_remedy(tmp_path):
    write(tmp_path / "0.parquet", column="obs")
    with pytest.raises(ConfigError, match=r"0.parquet.*\['obs'\].*output_write_episodes=True"):
        find_units(tmp_path)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "0.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ConfigError, match=r"0\.parquet: cannot be read as parquet"):
        find_units(tmp_path)


def test_bundles_keep_order_and_bounds(monkeypatch):
    monkeypatch.setattr(units, "_BUNDLE_BYTES", 100)
    monkeypatch.setattr(units, "_BUNDLE_UNITS", 3)
    sizes = [30, 30, 30, 5, 60, 50, 200, 1]
    given = [Unit("x", i, 1, size, 0) for i, size in enumerate(sizes)]
    bundles = list(bundle(given))
    assert [[unit.size for unit in each] for each in bundles] == [
        [30, 30, 30], [5, 60], [50], [200], [1],
    ]  # fmt: skip
    assert [unit for each in bundles for unit in each] == given
