"""Whatever a table of labelled frames holds, it is read as written, or refused with a remedy."""

import csv
import datetime
import decimal
import io

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from remedies import any_example, assert_helps

from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.evaluation.image_folder import read_folder
from rllib_vlm_reward.evaluation.labelled import LabelledFrames

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(PIXELS), "JPEG", exif=exif)


RGB = Image.fromarray(PIXELS)
IMAGES = {
    "a.png": saved(RGB, "PNG"),
    "b.png": saved(Image.fromarray(255 - PIXELS), "PNG"),
    "a.jpg": saved(RGB, "JPEG"),
    "a.gif": saved(RGB, "GIF"),
    "a.bmp": saved(RGB, "BMP"),
    "a.webp": saved(RGB, "WEBP"),
    "a.tif": saved(RGB, "TIFF"),
    "a.ico": saved(RGB, "ICO"),
    "a.ppm": saved(RGB, "PPM"),
    "a.tga": saved(RGB, "TGA"),
    "grey.png": saved(RGB.convert("L"), "PNG"),
    "alpha.png": saved(RGB.convert("RGBA"), "PNG"),
    "palette.png": saved(RGB.convert("P"), "PNG"),
    "bits.png": saved(RGB.convert("1"), "PNG"),
    "cmyk.jpg": saved(RGB.convert("CMYK"), "JPEG"),
    "deep.png": saved(Image.fromarray(np.full((6, 8), 0x7FFF, np.uint16)), "PNG"),
    "float.tif": saved(Image.fromarray(np.ones((6, 8), np.float32)), "TIFF"),
    "wide.png": saved(RGB.resize((9, 6)), "PNG"),
    "turned.jpg": rotated(6),
    "mirrored.jpg": rotated(2),
    "strange.jpg": rotated(99),
    "empty.png": b"",
    "text.png": b"no image",
}


@st.composite
def contents(draw):
    """The bytes of an image, often torn or with a few bytes changed."""
    content = IMAGES[draw(st.sampled_from([*IMAGES]))]
    fault = draw(st.integers(0, 3))
    if fault == 0:
        content = content[: draw(st.integers(0, len(content)))]
    elif fault == 1 and content:
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        content = bytes(changed)
    return content


def pixels_of(content):
    """The frame that an image viewer shows."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


NAMES = ["file_name", "goal", "label", "episode", "step", "steps_to_go", "player"]
WRONG = [
    *("", " ", "\n", "\0", "2", "-1", "0.3", "nan", "inf", "-inf", "yes", "TRUE", "None", "1e400"),
    *("9" * 30, "9" * 5000, "²", "٣", "1_0", "é", "日本", "🤖", "\ufeff", "\u202e", 'a"b', "a,b"),
    *("../a.png", "/etc/passwd", "no.png", "a.png/b.png", "a" * 300, ".", "..", "metadata.csv"),
    *("a\0.png", "deep/../a.png", "true", "0", "a;b", "=1+1", "'", "\x85", "\u2028"),
]
CELLS = {
    "file_name": [*IMAGES],
    "goal": ["a red ball", "the door, open"],
    "label": ["true", "false", "1", "0", "True"],
    "episode": ["e1", "e2"],
    "step": ["0", "1", "17"],
    "steps_to_go": ["0", "3.5", "inf", ""],
    "player": ["human", ""],
}
ENCODINGS = [*["utf-8"] * 9, "utf-8-sig", "cp1252", "utf-16", "utf-32", "shift_jis"]


@st.composite
def tables(draw):
    """The bytes of a CSV, of which one cell in ten, and one header in five, is wrong."""
    optional = draw(st.lists(st.sampled_from(NAMES[3:]), unique=True, max_size=4))
    names = draw(st.permutations([*NAMES[:3], *optional]))
    if draw(st.integers(0, 4)) == 0:
        names[draw(st.integers(0, len(names) - 1))] = draw(
            st.sampled_from([*NAMES, "Label", " label", "labl", "", "note"]) | st.text(max_size=5)
        )
    rows = []
    usual = ["a.png", "b.png"] if draw(st.booleans()) else [*IMAGES]
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 2, 3, 3]))):
        row = []
        for name in names:
            good = {**CELLS, "file_name": usual}.get(name, ["x"])
            odd = draw(st.integers(0, 9)) == 0
            cells = st.sampled_from(WRONG) | st.text(max_size=6) if odd else st.sampled_from(good)
            row.append(draw(cells))
        if draw(st.integers(0, 19)) == 0:
            row = draw(st.sampled_from([row[:-1], [*row, "more"], []]))
        rows.append(row)
    buffer = io.StringIO()
    separator = draw(st.sampled_from([*",,,,,,,,", ";", "\t"]))
    csv.writer(buffer, delimiter=separator, escapechar="\\").writerows([names, *rows])
    text = buffer.getvalue()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(['"', "\n", "\r", "\0", ",", "é"])) + text[at:]
    return text.encode(draw(st.sampled_from(ENCODINGS)), "replace")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, content in IMAGES.items():
        (folder / name).write_bytes(content)
    (folder / "deep").mkdir()
    return folder


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    return tmp_path_factory.mktemp("parquet") / "frames.parquet"


LABELS = {"true": True, "1": True, "false": False, "0": False}


@given(table=tables())
@any_example
def test_any_table_is_read_as_it_is_written_or_refused_with_a_remedy(folder, table):
    (folder / "metadata.csv").write_bytes(table)
    try:
        frames = read_folder(folder)
    except ERRORS as error:
        assert_helps(error, "metadata.csv")
        return
    written = list(csv.DictReader(table.decode("utf-8-sig").splitlines(True)))
    assert len(frames) == len(written)
    assert [LABELS[row["label"].strip().lower()] for row in written] == frames.labels.tolist()
    assert [row["goal"].strip() for row in written] == list(frames.goals)
    for index, row in enumerate(written):
        content = (folder / row["file_name"].strip()).read_bytes()
        np.testing.assert_array_equal(frames.frames([index])[0], pixels_of(content))


@given(content=contents())
@any_example
def test_any_image_is_shown_as_viewers_show_it_or_refused_with_a_remedy(content):
    frames = LabelledFrames.of([content], ["a"], [True])
    try:
        frame = frames.frames([0])[0]
    except ERRORS as error:
        assert_helps(error)
    else:
        assert frame.dtype == np.uint8
        assert frame.ndim == 3
        assert 0 not in frame.shape
        np.testing.assert_array_equal(frame, pixels_of(content))


COLUMNS = {
    "image": [
        {"bytes": IMAGES["a.png"], "path": None},
        {"bytes": IMAGES["b.png"], "path": "b.png"},
    ],
    "goal": ["a red ball", "é"],
    "label": [True, False],
    "episode": ["x", "y"],
    "step": [0, 5],
    "steps_to_go": [0.0, 2.5],
    "player": ["human", "random"],
}
ODD = [
    *(None, True, 0, 1, 2, -1, 0.0, 1.0, 0.3, float("nan"), float("inf"), 2**40, 2**63 - 1),
    *(-(2**63), "", "a", "true", "false", "1", "0", "2", "yes", b"1", b"\xff", decimal.Decimal(1)),
    *(decimal.Decimal("0.5"), datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29)),
    *([True], [], {"bytes": b"", "path": None}, {"bytes": None, "path": "a.png"}, {"a": 1}),
]


@st.composite
def parquets(draw):
    """A Parquet table, as bytes; half of them have a column of other values, or are damaged."""
    number = draw(st.integers(0, 3))
    columns = {}
    for name in COLUMNS:
        if name in NAMES[3:] and draw(st.booleans()):
            continue
        cells = st.sampled_from(COLUMNS[name])
        columns[name] = draw(st.lists(cells, min_size=number, max_size=number))
    arrays, names = [], []
    odd = draw(st.sampled_from([*columns, None, None]))
    for name, cells in columns.items():
        if name == odd:
            fault = draw(st.integers(0, 5))
            if fault == 0:
                continue
            if fault == 1:
                name = draw(st.sampled_from([*NAMES, "Label", ""]) | st.text(max_size=4))
            else:
                value = draw(st.sampled_from(ODD))
                kept = [value if draw(st.booleans()) else cell for cell in cells]
                cells = kept if fault == 2 else [value] * number
        try:
            array = pyarrow.array(cells)
        except (pyarrow.ArrowException, OverflowError):
            assume(False)
        if draw(st.integers(0, 9)) == 0 and pyarrow.types.is_string(array.type):
            array = draw(st.sampled_from([array.dictionary_encode(), array.cast("large_string")]))
        arrays.append(array)
        names.append(name)
    buffer = io.BytesIO()
    try:
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=names), buffer)
    except (pyarrow.ArrowException, NotImplementedError):
        assume(False)
    content = buffer.getvalue()
    if draw(st.integers(0, 4)) == 0:
        content = content[: draw(st.integers(0, len(content)))]
    elif draw(st.integers(0, 4)) == 0:
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 3))):
            changed[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        content = bytes(changed)
    return content


@given(content=parquets())
@any_example
def test_any_parquet_is_read_as_it_is_written_or_refused_with_a_remedy(parquet, content):
    parquet.write_bytes(content)
    try:
        frames = LabelledFrames.load(parquet)
    except ERRORS as error:
        assert_helps(error, str(parquet))
        return
    rows = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    assert len(frames) == len(rows) > 0
    assert [row["image"]["bytes"] for row in rows] == list(frames.images)
    for row, goal, label in zip(rows, frames.goals, frames.labels, strict=True):
        assert goal == row["goal"] or not isinstance(row["goal"], str)
        written = str(row["label"]).lower()
        assert written in ({"true", "1", "1.0"} if label else {"false", "0", "0.0", "-0.0"})
