"""A folder of images with a table of captions: read as it is meant, and trained on."""

import errno
import json
import os

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError, LabelError
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.pretraining import FolderSource, Settings, score_clip, train_clip
from rllib_vlm_reward.pretraining.sources import Request

COLORS = {"red": (200, 30, 30), "blue": (30, 30, 200)}
ONE = "file_name,caption,label,family,episode\n"


def paint(folder, number=40):
    """Write frames of one colour, four an episode, and their captions."""
    rng, rows = np.random.default_rng(0), []
    for index in range(number):
        color = list(COLORS)[index % 2]
        noise = rng.integers(0, 50, (16, 16, 3), np.uint8)
        (folder / f"{index}.png").write_bytes(encode(noise + np.uint8(COLORS[color])))
        rows.append({"file_name": f"{index}.png", "caption": f"the {{wall|room}} is {color}"})
        rows[-1] |= {"label": None, "family": "wall", "episode": str(index // 4)}
    return rows


def write(folder, rows, suffix):
    if suffix == "csv":
        lines = [",".join("" if cell is None else cell for cell in row.values()) for row in rows]
        (folder / "captions.csv").write_text(ONE + "\n".join(lines) + "\n")
    else:
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(table, folder / "captions.parquet")


def material(folder, tmp_path, seed=0):
    return FolderSource(folder).material(Request(0, 0, seed=seed), tmp_path, lambda *now: None)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "images"
    path.mkdir()
    return path


def test_two_tables_are_refused(folder):
    for suffix in ("csv", "parquet"):
        write(folder, paint(folder, 4), suffix)
    with pytest.raises(LabelError, match=r"captions\.csv and captions\.parquet, expected one"):
        FolderSource(folder)


@pytest.mark.parametrize("name", ["0.png", "./0.png", "deep/../0.png"])
def test_an_image_has_one_episode_or_it_would_be_learnt_and_held_out(folder, name):
    rows = "0.png,a cat,,x,e1\n1.png,a dog,,x,e1\n"
    (folder / "captions.csv").write_text(f"{ONE}{rows}{name},a hat,,y,e1\n")
    FolderSource(folder)
    for other in ("e2", ""):
        (folder / "captions.csv").write_text(f"{ONE}{rows}{name},a hat,,y,{other}\n")
        with pytest.raises(LabelError, match=f"row 4: got the episode '{other}' for 0.png.*'e1'"):
            FolderSource(folder)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_frames_have_their_captions_and_are_split_by_episode(folder, tmp_path, suffix):
    write(folder, paint(folder), suffix)
    train, held_out = material(folder, tmp_path / "work")
    assert (len(train), len(held_out)) == (32, 8)
    assert not {*train.episodes} & {*held_out.episodes}
    for part in (train, held_out):
        assert part.families["wall"].statements == (
            "the {wall|room} is blue",
            "the {wall|room} is red",
        )
        red = part.frames[..., 0].mean(axis=(1, 2)) > 100
        np.testing.assert_array_equal(part.holds["wall"][:, 1], red)
        np.testing.assert_array_equal(part.fails["wall"], ~part.holds["wall"])
    other = material(folder, tmp_path / "work", seed=1)[1]
    assert {*other.episodes} != {*held_out.episodes}


def test_what_a_table_says_of_an_image(folder, tmp_path):
    paint(folder, 3)
    (folder / "captions.csv").write_text(
        "file_name,caption,label,family\n"
        "0.png,it is day,,sky\n"
        "0.png,a cat,true,thing\n"
        "0.png,a hat,1,thing\n"
        "0.png,a bat,FALSE,thing\n"
        "1.png,it is night,,sky\n"
        "2.png,a rat,,thing\n"
    )
    train, held_out = material(folder, tmp_path / "work")
    rows = {}
    for part in (train, held_out):
        for name, family in part.families.items():
            for row, episode in enumerate(part.episodes):
                for column, text in enumerate(family.statements):
                    said = part.holds[name][row, column], part.fails[name][row, column]
                    rows[episode, text] = {(True, False): "true", (False, True): "false"}.get(said)
    assert {text: rows[0, text] for _, text in rows} == {
        "it is day": "true",
        "it is night": "false",
        "a cat": "true",
        "a hat": "true",
        "a bat": "false",
        "a rat": None,
    }
    assert [rows[1, text] for text in ("it is day", "it is night", "a cat")] == [
        "false",
        "true",
        None,
    ]
    assert [rows[2, text] for text in ("it is day", "a rat", "a bat")] == [None, "true", "false"]


def test_a_clip_learns_the_folder_and_is_scored_again(folder, tiny_clip, tmp_path):
    write(folder, paint(folder), "csv")
    source, output = FolderSource(folder), tmp_path / "clip"
    settings = Settings(steps=60, batch_size=16, learning_rate=3e-3, warmup_steps=5)
    scores = train_clip(f"{tiny_clip}/random", source, output, settings)
    assert scores["wall"].average_precision > 0.95
    card = (output / "model_card.md").read_text()
    assert "rllib-vlm-reward train-clip" in card
    assert "--folder images" in card
    assert "40 images with 40 captions" in card
    assert json.loads((output / "metrics.json").read_text())["vocabulary"] == [
        "blue",
        "is",
        "red",
        "room",
        "the",
        "wall",
    ]
    assert score_clip(source, output) == scores
    assert (output / "model_card.md").read_text() == card
    table = (folder / "captions.csv").read_text()
    (folder / "captions.csv").write_text(table.replace("red", "rot", 1))
    with pytest.raises(ConfigError, match="expected the source of the training as it was"):
        score_clip(FolderSource(folder), output)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ("file_name,text\n0.png,a\n", LabelError, "expected a row for each caption with"),
        ("file_name,caption\n", LabelError, "0 rows"),
        ("file_name,caption\n0.png,a,b\n", LabelError, "row 2: got more than one value in a cell"),
        ("file_name,caption\n0.png,\n", LabelError, "row 2: got '0.png' and ''"),
        ("file_name,caption\n0.png,{a|the cat\n", GoalError, "balanced braces"),
        ("file_name,caption,label\n0.png,a,maybe\n", LabelError, "row 2: got the label 'maybe'"),
        ("file_name,caption,label\n0.png,a,1\n0.png,a,0\n", LabelError, "both true and false"),
        ("file_name,caption,Label\n0.png,a,0\n", LabelError, "Did you mean 'label'"),
        ("file_name,caption,label,label\n0.png,a,0,1\n", LabelError, "occur more than once"),
        ("file_name,caption\n../0.png,a\n", LabelError, "outside of the folder"),
        ("file_name,caption\n9.png,a\n", FrameError, "does not exist"),
        ("file_name,caption\n0.png,a\nbig.png,b\n", FrameError, "expected 16 x 16"),
        (b"file_name,caption\n0.png,\xff\n", LabelError, "cannot be read"),
    ],
)
def test_a_table_that_is_wrong_is_an_error(folder, tmp_path, table, error, message):
    paint(folder, 1)
    (folder / "big.png").write_bytes(encode(np.zeros((17, 17, 3), np.uint8)))
    content = table if isinstance(table, bytes) else table.encode()
    (folder / "captions.csv").write_bytes(content)
    with pytest.raises(error) as raised:
        material(folder, tmp_path / "work")
    assert message in str(raised.value)


def test_a_folder_without_a_table_is_an_error(folder):
    with pytest.raises(FileNotFoundError, match=r"got no captions\.csv or captions\.parquet"):
        FolderSource(folder)


def test_a_full_disk_is_an_error_before_all_images_are_read(folder, tmp_path, monkeypatch):
    write(folder, paint(folder), "csv")
    asked = []

    def full(file, offset, size):
        asked.append((offset, size))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    for index in range(1, 40):
        (folder / f"{index}.png").unlink()  # they are not read yet
    with pytest.raises(OSError, match="No space left on device for 30,720 bytes") as raised:
        material(folder, tmp_path / "work")
    assert asked == [(0, 40 * 16 * 16 * 3)]
    assert raised.value.filename == str(tmp_path / "work" / "frames.bin")
