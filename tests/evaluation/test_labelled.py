"""Labelled frames: through memory, Parquet and back, and what is refused."""

import dataclasses

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from rllib_vlm_reward.errors import FrameError, LabelError
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 12, 10, 3), np.uint8)


def some():
    return LabelledFrames.of(
        [encode(frame) for frame in PIXELS],
        ["a", "b", "a", "b"],
        [True, False, False, True],
        episodes=["x", "x", "y", "y"],
        steps=[1, 2, 1, 2],
        steps_to_go=[0, None, 3, 0],
        player=["random", "random", "expert", "expert"],
    )


def assert_same(one, other):
    for field in dataclasses.fields(LabelledFrames):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, np.ndarray):
            np.testing.assert_array_equal(first, second)
            assert first.dtype == second.dtype
        else:
            assert first == second


def test_parquet_gives_back_every_pixel_and_word(tmp_path):
    some().save(tmp_path / "deep" / "frames.parquet")
    read = LabelledFrames.load(tmp_path / "deep" / "frames.parquet")
    assert_same(read, some())
    np.testing.assert_array_equal(read.frames(range(4)), PIXELS)
    assert [*(tmp_path / "deep").iterdir()] == [tmp_path / "deep" / "frames.parquet"]


def test_datasets_of_hugging_face_find_the_images(tmp_path):
    some().save(tmp_path / "frames.parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "frames.parquet")
    assert b'"image": {"_type": "Image"}' in schema.metadata[b"huggingface"]
    assert schema.field("image").type.field(0).name == "bytes"


def test_a_parquet_of_three_columns_is_enough(tmp_path):
    images = [{"bytes": encode(frame)} for frame in PIXELS]
    table = pyarrow.table({"image": images, "goal": ["a"] * 4, "label": [True, False] * 2})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    read = LabelledFrames.load(tmp_path / "f.parquet")
    assert len(set(read.episodes)) == 4
    assert np.isnan(read.steps_to_go).all()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"goal": ["a"], "label": [True]}, r"Add \['image'\]"),
        (
            {"image": [{"bytes": b"x"}], "goal": ["a"], "label": ["yes"]},
            "'label' has the type string, expected bool",
        ),
        (
            {"image": [{"bytes": b"x"}], "goal": [None], "label": [True]},
            "1 rows have an empty 'goal'",
        ),
        ({"image": [], "goal": [], "label": []}, "expected|at least"),
    ],
)
def test_what_lacks_something_is_refused(tmp_path, columns, words):
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "f.parquet")
    with pytest.raises(LabelError, match=words):
        LabelledFrames.load(tmp_path / "f.parquet")


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        ([1, 2], "2 in row 1"),
        ([-1, 1], "-1 in row 0"),
        ([1, 0.3], "0.3 in row 1"),
        ([float("nan"), 0.0], "nan in row 0"),
        ([b"1", b"0"], "b'1' in row 0"),
    ],
)
def test_a_label_that_is_neither_true_nor_false_is_refused(tmp_path, labels, got):
    images = [{"bytes": encode(frame)} for frame in PIXELS[:2]]
    table = pyarrow.table({"image": images, "goal": ["a"] * 2, "label": labels})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(LabelError, match=rf"f\.parquet.*label {got}, expected\s+True, False, 1 or"):
        LabelledFrames.load(tmp_path / "f.parquet")
    with pytest.raises(LabelError, match=got):
        LabelledFrames.of([b"", b""], ["a"] * 2, labels)


@pytest.mark.parametrize("labels", [[1, 0], [1.0, 0.0], ["true", "false"], [True, False]])
def test_one_and_zero_of_any_type_are_labels(tmp_path, labels):
    images = [{"bytes": encode(frame)} for frame in PIXELS[:2]]
    table = pyarrow.table({"image": images, "goal": ["a"] * 2, "label": labels})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    assert LabelledFrames.load(tmp_path / "f.parquet").labels.tolist() == [True, False]


@pytest.mark.parametrize(("name", "values"), [("step", [1, -1]), ("steps_to_go", [1.0, -0.5])])
def test_a_negative_number_of_steps_names_its_row(tmp_path, name, values):
    images = [{"bytes": encode(frame)} for frame in PIXELS[:2]]
    table = {"image": images, "goal": ["a"] * 2, "label": [True, False], name: values}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "f.parquet")
    with pytest.raises(LabelError, match=r"f\.parquet.*in row 1, expected 0 or more"):
        LabelledFrames.load(tmp_path / "f.parquet")


def test_images_that_are_only_paths_are_refused(tmp_path):
    images = pyarrow.array(
        [{"bytes": None, "path": "a.png"}],
        pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    )
    table = pyarrow.table({"image": images, "goal": ["a"], "label": [True]})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(LabelError, match="row 0 has no bytes in 'image'"):
        LabelledFrames.load(tmp_path / "f.parquet")


def test_a_column_that_occurs_twice_is_refused(tmp_path):
    columns = [pyarrow.array([True]), pyarrow.array([False])]
    table = pyarrow.Table.from_arrays(columns, names=["label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(LabelError, match="label"):
        LabelledFrames.load(tmp_path / "f.parquet")


@pytest.mark.parametrize("name", ["Episode", "episode_id", "steps"])
def test_a_column_that_is_nearly_one_of_those_that_are_read_is_refused(tmp_path, name):
    some().save(tmp_path / "f.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet").drop(["episode", "step"])
    table = table.append_column(name, [["1"] * 4])
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(LabelError, match=f"'{name}', which is ignored. Did you mean '(ep|step)"):
        LabelledFrames.load(tmp_path / "f.parquet")


@pytest.mark.parametrize("step", [1.5, float("nan"), float("inf"), "1", None])
def test_a_step_is_a_whole_number(step):
    with pytest.raises(LabelError, match=r"got the step .* expected a whole number"):
        LabelledFrames.of([b""] * 2, ["a"] * 2, [True, False], steps=[1.0, step])


def test_labels_of_the_class_are_boolean():
    with pytest.raises(LabelError, match=r"got labels of int64, .* LabelledFrames\.of"):
        dataclasses.replace(some(), labels=np.array([1, 0, 0, 1]))


def test_a_folder_of_images_says_how_it_becomes_a_file(tmp_path):
    with pytest.raises(LabelError, match=f"collect --folder {tmp_path} --output FILE"):
        LabelledFrames.load(tmp_path)


def test_no_file_and_no_parquet(tmp_path):
    with pytest.raises(FileNotFoundError, match="collect"):
        LabelledFrames.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(LabelError, match="cannot be read"):
        LabelledFrames.load(tmp_path / "text.parquet")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("end", [b"", b"PAR1", b"\4\0\0\0PAR1"])
def test_a_torn_file_is_an_error_of_ours(tmp_path, kept, end):
    path = tmp_path / "frames.parquet"
    some().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))] + end)
    with pytest.raises(LabelError, match=r"frames\.parquet: cannot be read as Parquet"):
        LabelledFrames.load(path)


def test_a_text_that_is_not_utf_8_is_an_error_of_ours(tmp_path):
    buffers = [None, *map(pyarrow.py_buffer, (b"\0\0\0\0\1\0\0\0", b"\xff"))]
    goal = pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers)
    table = pyarrow.table({"image": [{"bytes": b"x"}], "goal": goal, "label": [True]})
    pyarrow.parquet.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(LabelError, match="cannot be read as Parquet"):
        LabelledFrames.load(tmp_path / "f.parquet")


def test_frames_of_two_sizes_or_of_none_are_refused():
    other = encode(np.zeros((3, 3, 3), np.uint8))
    mixed = LabelledFrames.of([encode(PIXELS[0]), other, b"no image"], "aaa", [True] * 3)
    with pytest.raises(FrameError, match=r"\(12, 10\) and \(3, 3\)"):
        mixed.frames([0, 1])
    with pytest.raises(FrameError, match="row 2"):
        mixed.frames([2])


def test_parts_are_joined_and_taken_by_rows_or_mask():
    both = LabelledFrames.join([some(), some()])
    assert len(both) == 8
    assert_same(both.take([4, 5, 6, 7]), some())
    assert_same(both.take(np.arange(8) < 4), some())
    assert both.episode_indices.tolist() == [0, 0, 1, 1] * 2


def test_batches_hold_every_frame_once_in_order():
    batches = [*some().batches(3)]
    assert [rows.tolist() for rows, _ in batches] == [[0, 1, 2], [3]]
    np.testing.assert_array_equal(np.concatenate([frames for _, frames in batches]), PIXELS)
    ((rows, frames),) = some().batches(rows=np.array([3, 1]))
    np.testing.assert_array_equal(rows, [3, 1])
    np.testing.assert_array_equal(frames, PIXELS[[3, 1]])


def test_lengths_must_agree():
    with pytest.raises(LabelError, match="the same length for all"):
        LabelledFrames.of([encode(PIXELS[0])], ["a", "b"], [True])
