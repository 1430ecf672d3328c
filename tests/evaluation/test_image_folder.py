"""A folder of images and its table: what is read, and what is refused with its row."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from rllib_vlm_reward.errors import FrameError, LabelError
from rllib_vlm_reward.evaluation.image_folder import read_folder
from rllib_vlm_reward.evaluation.images import decode

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), np.uint8)
HEAD = "file_name,goal,label"
CASES = Path(__file__).parents[1] / "cases" / "tables"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, frame in zip(("a.png", "b.png", "deep/c.png"), PIXELS, strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    return tmp_path


def write(folder, *lines, name="metadata.csv", encoding="utf-8"):
    (folder / name).write_text("\n".join(lines), encoding=encoding)
    return folder


@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # as Excel saves it
def test_every_row_is_a_frame_and_the_rest_is_as_it_was_given(folder, name, encoding):
    lines = (
        "player,label,goal,file_name,step,episode,steps_to_go,light",
        'human,True,"the door, open",deep/c.png,2,e1,0,dim',
        "human,0,the door is shut,a.png,1,e1,,dim",
        "bot,1,the door is shut,b.png,1,e2,inf,bright",
    )
    frames = read_folder(write(folder, *lines, name=name, encoding=encoding))
    np.testing.assert_array_equal(frames.frames(range(3)), PIXELS[[2, 0, 1]])
    assert frames.goals == ("the door, open", "the door is shut", "the door is shut")
    assert frames.labels.tolist() == [True, False, True]
    assert frames.episodes == ("e1", "e1", "e2")
    assert frames.steps.tolist() == [2, 1, 1]
    np.testing.assert_array_equal(frames.steps_to_go, np.float32([0, np.nan, np.inf]))
    assert frames.players == ("human", "human", "bot")


def test_images_stay_the_bytes_that_they_were(folder):
    Image.fromarray(PIXELS[0]).save(folder / "d.jpg")
    frames = read_folder(write(folder, HEAD, "d.jpg,a,true"))
    assert frames.images == ((folder / "d.jpg").read_bytes(),)


def test_without_episodes_each_frame_is_one(folder):
    frames = read_folder(write(folder, HEAD, "a.png,a,true", "b.png,a,false"))
    assert len(set(frames.episodes)) == 2
    assert np.isnan(frames.steps_to_go).all()


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        ("b.png,a,yes,1,2", LabelError, "line 3, label: got 'yes'.*true"),
        ("b.png,a,,1,2", LabelError, "line 3, label: got ''"),
        ("b.png,a,0.9,1,2", LabelError, "line 3, label"),
        ("b.png,,true,1,2", LabelError, "line 3, goal: got an empty cell"),
        (",a,true,1,2", LabelError, "line 3, file_name: got an empty cell"),
        ("b.png,a", LabelError, "line 3: got 2 cells, expected 5"),
        ("b.png,a,true,1,2,3", LabelError, "line 3: got 6 cells, expected 5"),
        ("b.png,a,true,1.5,2", LabelError, "line 3, step: got '1.5'"),
        ("b.png,a,true," + "9" * 30 + ",2", LabelError, "line 3, step: got '9+', .* 18 digits"),
        ("b" * 300 + ",a,true,1,2", FrameError, "line 3, file_name: .*does not exist"),
        ("b.png,a,true,1,soon", LabelError, "line 3, steps_to_go: got 'soon'"),
        ("b.png,a,true,1,nan", LabelError, "line 3, steps_to_go: got 'nan'"),
        ("b.png,a,true,1,-1", LabelError, "line 3, steps_to_go"),
        (
            "none.png,a,true,1,2",
            FrameError,
            "line 3, file_name: .*none.png: this file does not exist",
        ),
        ("metadata.csv,a,true,1,2", FrameError, "line 3, file_name.*unknown format"),
    ],
)
def test_a_cell_that_is_none_of_what_is_expected_names_its_row(folder, row, error, words):
    write(folder, f"{HEAD},step,steps_to_go", "a.png,a,false,1,3", row)
    with pytest.raises(error, match=words):
        read_folder(folder)


def test_lines_are_those_that_an_editor_counts(folder):
    write(folder, HEAD, 'a.png,"a', 'red door",false', "", "b.png,a,perhaps")
    with pytest.raises(LabelError, match=r"line 5, label: got 'perhaps'"):
        read_folder(folder)


def test_a_truncated_image_is_found_at_once(folder):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    with pytest.raises(FrameError, match=r"line 2.*b\.png"):
        read_folder(write(folder, HEAD, "b.png,a,true"))


def test_columns_that_are_missing_are_named(folder):
    with pytest.raises(LabelError, match=r"\['goal'\] are missing"):
        read_folder(write(folder, "file_name,label", "a.png,1"))


@pytest.mark.parametrize("name", ["episod", "Episode", "step to go", "steps_togo"])
def test_a_column_that_is_nearly_one_of_those_that_are_read_is_refused(folder, name):
    with pytest.raises(LabelError, match=f"'{name}', which is ignored. Did you mean '(ep|step)"):
        read_folder(write(folder, f"{HEAD},{name}", "a.png,a,true,1"))


def test_a_needed_column_of_another_name_is_found(folder):
    with pytest.raises(LabelError, match=r"'filename', .* Did you mean 'file_name'\?"):
        read_folder(write(folder, "filename,goal,label", "a.png,a,true"))


def test_two_tables_are_refused(folder):
    write(folder, HEAD, "a.png,a,true", name="labels.csv")
    with pytest.raises(LabelError, match=r"metadata\.csv and labels\.csv, expected one table"):
        read_folder(write(folder, HEAD, "a.png,a,false"))


@pytest.mark.parametrize("again", ["a.png,a,false", "a.png,a,true", "./deep/../a.png, a ,true"])
def test_an_image_has_one_row_for_a_goal(folder, again):
    other = ["a.png,b,true", "b.png,a,true"]
    with pytest.raises(LabelError, match=r"line 5: got '.*a\.png' with the goal 'a' again.*line 2"):
        read_folder(write(folder, HEAD, "a.png,a,true", *other, again))
    assert len(read_folder(write(folder, HEAD, "a.png,a,true", *other))) == 3


def test_an_image_may_be_a_frame_of_two_episodes(folder):
    rows = ["a.png,a,true,x,1", "a.png,a,false,y,1", "a.png,a,true,x,2"]
    assert len(read_folder(write(folder, f"{HEAD},episode,step", *rows))) == 3


def test_other_columns_are_not_read(folder):
    assert len(read_folder(write(folder, f"{HEAD},caption", "a.png,a,true,a door"))) == 1


def test_a_table_of_no_row_and_none_at_all(folder):
    with pytest.raises(LabelError, match="a header without rows"):
        read_folder(write(folder, HEAD))
    (folder / "metadata.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"metadata\.csv or labels\.csv"):
        read_folder(folder)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["AVIF", "DDS", "TIFF", "JPEG", "PNG", "WEBP", "SPIDER"])
def test_a_damaged_image_of_any_kind_is_refused(kind):
    whole = io.BytesIO()
    picture = Image.fromarray(PIXELS[0])
    try:
        (picture.convert("F") if kind == "SPIDER" else picture).save(whole, kind)
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow does not write {kind} ({error})")
    rng, refused = np.random.default_rng(0), 0
    for _ in range(200):
        content = bytearray(whole.getvalue())
        for place in rng.integers(len(content), size=4):
            content[place % 200 if kind != "SPIDER" else place] = rng.choice([0, 1, 127, 255])
        try:
            frame = decode(bytes(content), "an image")
        except FrameError:
            refused += 1
        else:
            assert frame.dtype == np.uint8
            assert frame.shape[2:] == (3,)
    assert refused > 10


@pytest.mark.parametrize("name", ["../secret.png", "deep/../../secret.png", "{parent}/secret.png"])
def test_an_image_outside_of_the_folder_is_refused_unless_it_is_allowed(tmp_path, name):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(PIXELS[0]).save(tmp_path / "secret.png")
    write(folder, HEAD, f"{name.format(parent=tmp_path)},a,true")
    with pytest.raises(LabelError, match=r"line 2, file_name: got '.*--allow-outside"):
        read_folder(folder)
    assert len(read_folder(folder, allow_outside=True)) == 1


def test_a_path_that_comes_back_into_the_folder_is_read(folder):
    write(folder, HEAD, "deep/../a.png,a,true", "..a.png,a,false")
    Image.fromarray(PIXELS[0]).save(folder / "..a.png")
    assert len(read_folder(folder)) == 2


@pytest.mark.parametrize(
    ("case", "error", "words"),
    [
        ("cp1252", LabelError, "line 2: got text that is not UTF-8.*CSV UTF-8"),
        ("extra_cells", LabelError, "line 2: got 4 cells, expected 3"),
        ("header_only", LabelError, "a header without rows"),
        ("label_twice", LabelError, r"\['label'\] occur more than once"),
        ("labels_two", LabelError, "line 2, label: got '2'"),
        ("mixed_sizes", FrameError, r"line 3, file_name: got 'b\.png' with \d+ x \d+ pixels"),
        ("png_16_bit", FrameError, "line 2, file_name: .*8 bits a channel"),
        ("torn_jpeg", FrameError, "line 2, file_name: .*cannot be read as an image"),
    ],
)
def test_a_table_that_was_read_wrongly_once_is_refused_with_its_line(case, error, words):
    with pytest.raises(error, match=words):
        read_folder(CASES / case)


def test_an_image_is_turned_as_its_camera_says():
    frames = read_folder(CASES / "exif_rotated")
    with Image.open(CASES / "exif_rotated" / "a.jpg") as stored:
        width, height = stored.size
        upright = np.asarray(ImageOps.exif_transpose(stored))
    assert frames.frames([0]).shape == (1, width, height, 3)
    np.testing.assert_array_equal(frames.frames([0])[0], upright)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_encodings_of_spreadsheets_are_refused(folder, encoding):
    write(folder, HEAD, "a.png,aller à droite,true", encoding=encoding)
    with pytest.raises(LabelError, match=r"CSV UTF-8|commas"):
        read_folder(folder)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_cells_that_are_separated_otherwise_are_refused(folder, mark):
    write(folder, HEAD.replace(",", mark), f"a.png{mark}a{mark}true")
    with pytest.raises(LabelError, match=re.escape(f"are separated by {mark!r};")):
        read_folder(folder)


@pytest.mark.parametrize("names", ["label,Label", "label, label"])
def test_a_column_that_differs_in_case_or_spaces_only_is_one_given_twice(folder, names):
    with pytest.raises(LabelError, match="occur more than once"):
        read_folder(write(folder, f"file_name,goal,{names}", "a.png,a,true,false"))


def test_a_column_without_a_name_that_is_read_may_occur_twice(folder):
    assert len(read_folder(write(folder, f"{HEAD},note,note", "a.png,a,true,x,y"))) == 1


def test_a_cell_that_never_ends_names_its_line(folder):
    write(folder, HEAD, 'a.png,"' + "a" * 200_000 + '",true')
    with pytest.raises(LabelError, match="line 2: cannot be read as CSV"):
        read_folder(folder)


def test_a_file_of_several_pictures_is_refused(folder):
    pictures = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    pictures[0].save(folder / "a.gif", save_all=True, append_images=pictures[1:])
    with pytest.raises(FrameError, match=r"file of 2 pictures, expected one.*as PNG\.$") as raised:
        read_folder(write(folder, HEAD, "a.gif,a,true"))
    assert "cannot be read" not in str(raised.value)


def test_an_image_bomb_is_refused(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # the images have 48 pixels
    with pytest.raises(FrameError, match=r"line 2, file_name: .*too large"):
        read_folder(write(folder, HEAD, "a.png,a,true"))
