"""Whatever is given as frames, it is scored as its pixels say, or refused with a remedy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from remedies import any_example, assert_helps

from rllib_vlm_reward.errors import ERRORS
from rllib_vlm_reward.frames import check_each, check_frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

SCORER = Scorer(GoalSet.from_texts(["a red ball", "a blue key", "a lamp"]), Softmax(0.1))
DTYPES = [
    *("u1", "u1", "u1", "u1", "i1", "u2", ">u2", "i4", "i8", "f2", "f4", "f8", "c8", "?", "O"),
    *("S3", "U2", "M8[s]", "V3", [("r", "u1"), ("g", "u1")]),
]
sides = st.sampled_from([0, 1, 2, 3, 5, 8]) | st.integers(1, 16)
shapes = st.one_of(
    st.tuples(st.integers(0, 3), sides, sides, st.just(3)),
    st.tuples(st.integers(0, 3), sides, sides, st.sampled_from([1, 2, 3, 4])),
    st.tuples(sides, sides, st.just(3)),
    st.tuples(st.integers(0, 2), st.just(3), sides, sides),
    st.lists(st.integers(0, 4), max_size=6).map(tuple),
)


def strided(array):
    """The same content in every second place of a larger array."""
    wide = np.zeros([2 * side for side in array.shape], array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def locked(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "plain": lambda array: array,
    "fortran": np.asfortranarray,
    "flipped": np.flip,
    "strided": strided,
    "locked": locked,
    "transposed": lambda array: array.T,
    "repeated": lambda array: np.broadcast_to(array[:1], array.shape),
    "masked": np.ma.asarray,
}


@st.composite
def arrays(draw, shapes=shapes, dtypes=DTYPES):
    dtype, shape = np.dtype(draw(st.sampled_from(dtypes))), draw(shapes)
    pixels = np.asarray(np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, shape))
    if dtype.kind == "f" and draw(st.booleans()):
        pixels = np.asarray(np.where(pixels < 128, np.nan, pixels / 255))
    if dtype.kind in "SUVM":
        array = np.zeros(shape, dtype)
    else:
        with np.errstate(all="ignore"):
            array = pixels.astype(dtype)
    layout = LAYOUTS[draw(st.sampled_from([*LAYOUTS]))]
    return layout(array) if array.ndim else array


def image(array):
    picture = Image.new("RGB", (5, 4))
    return picture.convert("L") if array.size % 2 else picture


no_arrays = st.one_of(
    st.sampled_from([None, "frame", b"frame", 0, float("nan"), {}, [], (), [None], object()]),
    arrays()
    .filter(lambda array: array.dtype.kind in "uif?" and array.dtype.isnative)
    .map(lambda array: torch.tensor(np.array(array).tolist())),
    arrays().map(image),
    arrays().map(lambda array: array.tolist()),
)
anything = arrays() | no_arrays


def of_one_size(first):
    """Lists of frames ``[H, W, 3]``, or of batches whose length ``first`` draws, mostly alike."""

    def lists(sides):
        shapes = st.tuples(*([first] if first else []), *map(st.just, sides), st.just(3))
        odd = st.sampled_from([True, *[False] * 9])
        each = odd.flatmap(lambda odd: anything if odd else arrays(shapes, ["u1"]))
        return st.lists(each, min_size=1, max_size=4)

    return st.tuples(sides, sides).flatmap(lists)


several = st.lists(anything, max_size=3) | of_one_size(None)
requests = st.lists(anything, max_size=3) | of_one_size(st.integers(0, 3))
indices = st.lists(st.integers(-1, 3), max_size=6).map(np.array) | anything


def is_frames(value):
    """The contract, in other words than the package's."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype.str == "|u1"
        and len(value.shape) == 4
        and value.shape[3] == 3
        and value.shape[1] * value.shape[2] > 0
    )


@pytest.fixture(scope="module")
def model(tiny_clip):
    return RewardModel(CLIPEncoder.load(tiny_clip, precision="fp32"), cache_frames=64)


@given(frames=anything, data=st.data())
@any_example
def test_any_batch_is_scored_as_its_pixels_or_refused_with_a_remedy(model, frames, data):
    try:
        assert check_frames(frames) is frames
    except ERRORS as error:
        assert_helps(error)
        assert not is_frames(frames)
        return
    assert is_frames(frames)
    goals = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(frames), max_size=len(frames))), int
    )
    scores = model.score(frames, goals, SCORER)
    plain = np.array(frames.tolist(), np.uint8).reshape(frames.shape)
    assert scores.dtype == np.float32
    assert scores.shape == (len(frames),)
    assert ((scores >= 0) & (scores <= 1)).all()
    alone = [model.score(plain[i : i + 1], goals[i : i + 1], SCORER) for i in range(len(frames))]
    np.testing.assert_allclose(scores, np.concatenate([[], *alone]), atol=1e-5)


@given(frames=several)
@any_example
def test_any_list_of_frames_is_a_batch_or_refused_with_a_remedy(frames):
    stackable = len({getattr(frame, "shape", None) for frame in frames}) == 1 and all(
        is_frames(frame[None]) if isinstance(frame, np.ndarray) else False for frame in frames
    )
    try:
        assert check_each(frames) is frames
    except ERRORS as error:
        assert_helps(error)
        assert not stackable
    else:
        assert stackable


@given(batches=requests, data=st.data())
@any_example
def test_any_request_is_scored_or_refused_with_a_remedy(model, batches, data):
    is_one = all(map(is_frames, batches)) and len({batch.shape[1:] for batch in batches}) == 1
    size = sum(map(len, batches)) if is_one else 0
    goals = st.lists(st.integers(0, 2), min_size=size, max_size=size).map(np.array)
    goals = data.draw(goals if data.draw(st.booleans()) else indices)
    try:
        scores = model.score(batches, goals, SCORER)
    except ERRORS as error:
        assert_helps(error)
        whole = isinstance(goals, np.ndarray) and goals.dtype.kind in "iu" and goals.ndim == 1
        assert not (is_one and whole and len(goals) == size and {*goals.tolist()} <= {0, 1, 2})
    else:
        joined = np.concatenate([np.array(batch) for batch in batches])
        np.testing.assert_allclose(scores, model.score(joined, goals, SCORER), atol=1e-5)
