"""Parity with open_clip's own transform, which goes through PIL and torchvision."""

import dataclasses

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model.preprocess import Preprocess

MODELS = [
    ("ViT-B-32", "openai"),  # shortest, OpenAI's mean and std
    ("ViT-B-16-SigLIP", "webli"),  # squash, 1/2
    ("convnext_base", "laion400m_s13b_b51k"),  # shortest
    ("ViT-H-14-378-quickgelu", "dfn5b"),  # squash, OpenAI's
]
LANDSCAPE = [(56, 56), (64, 64), (224, 224), (210, 160), (480, 640), (37, 100), (225, 224)]
PORTRAIT = [(100, 37), (640, 480), (300, 7)]


def frames_of(height, width):
    rng = np.random.default_rng(height * 1000 + width)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)
    tiles = rng.integers(0, 2, (height // 8 + 1, width // 8 + 1, 3), np.uint8) * 255
    tiled = tiles.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return np.stack([noise, ramp, tiled])


def open_clip_config(architecture, tag):
    size = open_clip.get_model_config(architecture)["vision_cfg"]["image_size"]
    entry = open_clip.get_pretrained_cfg(architecture, tag)
    return PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(size=size), entry))


def levels_apart(frames, config, reference):
    """Return |ours - PIL's| in levels of 255, [B, 3, h, w]."""
    ours = Preprocess.from_config(dataclasses.asdict(config))(torch.from_numpy(frames))
    theirs = torch.stack([reference(Image.fromarray(frame)) for frame in frames])
    assert ours.shape == theirs.shape
    assert ours.dtype == torch.float32
    return ((ours - theirs).abs() * 255 * torch.tensor(config.std).view(3, 1, 1)).numpy()


def assert_parity(apart):
    assert apart.max() < 2.01
    assert apart.mean(axis=(1, 2, 3)).max() < 1 / 3


@pytest.mark.parametrize("size", LANDSCAPE)
@pytest.mark.parametrize(("architecture", "tag"), MODELS)
def test_parity_with_the_models_own_transform(architecture, tag, size):
    config = open_clip_config(architecture, tag)
    reference = image_transform_v2(config, is_train=False)
    assert_parity(levels_apart(frames_of(*size), config, reference))


@pytest.mark.parametrize("size", [(56, 56), (64, 64), (210, 160), (37, 100), *PORTRAIT])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("target", [(56, 56), (64, 48)])
def test_parity_in_every_mode(target, resize_mode, interpolation, size, monkeypatch):
    resize = Image.Image.resize

    def width_first(image, size, *args, **kwargs):  # what Pillow did before 13
        return resize(
            resize(image, (size[0], image.height), *args, **kwargs), size, *args, **kwargs
        )

    monkeypatch.setattr(Image.Image, "resize", width_first)
    config = PreprocessCfg(
        size=target,
        mean=(0.1, 0.2, 0.3),
        std=(0.9, 0.8, 0.7),
        interpolation=interpolation,
        resize_mode=resize_mode,
        fill_color=9,
    )
    reference = image_transform_v2(config, is_train=False)
    assert_parity(levels_apart(frames_of(*size), config, reference))


def test_a_frame_of_the_models_size_is_not_filtered():
    config = PreprocessCfg(size=56)
    reference = image_transform_v2(config, is_train=False)
    assert levels_apart(frames_of(56, 56), config, reference).max() < 1e-3


def test_noise_hardly_differs():
    config = open_clip_config("ViT-B-32", "openai")
    reference = image_transform_v2(config, is_train=False)
    apart = levels_apart(frames_of(480, 640)[:1], config, reference)
    assert apart.mean() < 0.001


@settings(max_examples=60, deadline=None)
@given(
    level=st.integers(0, 255),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    resize_mode=st.sampled_from(["shortest", "squash"]),
)
def test_a_flat_frame_stays_flat(level, height, width, size, interpolation, resize_mode):
    preprocess = Preprocess(size, (0.5,) * 3, (0.25,) * 3, interpolation, resize_mode)
    pixels = preprocess(torch.full((1, height, width, 3), level, dtype=torch.uint8))
    assert pixels.shape == (1, 3, *size)
    np.testing.assert_allclose(pixels, (level / 255 - 0.5) / 0.25, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 5), height=st.integers(5, 60), width=st.integers(5, 60))
def test_a_frame_does_not_depend_on_its_batch(batch, height, width):
    frames = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), np.uint8)
    preprocess = Preprocess((24, 24), (0.5,) * 3, (0.25,) * 3)
    together = preprocess(torch.from_numpy(frames))
    alone = torch.cat([preprocess(torch.from_numpy(frame[None])) for frame in frames])
    np.testing.assert_array_equal(together, alone)


def test_padding_has_the_fill_color_and_stays_outside():
    preprocess = Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3, resize_mode="longest", fill_color=51)
    pixels = preprocess(torch.full((1, 4, 8, 3), 255, dtype=torch.uint8))[0, 0]
    np.testing.assert_allclose(pixels[[0, 1, 6, 7]], 51 / 255, atol=1e-6)
    np.testing.assert_allclose(pixels[2:6], 1.0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1)])
def test_a_frame_that_is_very_narrow_keeps_one_pixel(shape):
    preprocess = Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3, resize_mode="longest")
    pixels = preprocess(torch.full((1, *shape, 3), 255, dtype=torch.uint8))
    assert pixels.sum() == 3 * 8  # one row or column of the three channels


def test_the_input_is_left_alone():
    frames = torch.from_numpy(frames_of(20, 20))
    before = frames.clone()
    Preprocess((20, 20), (0.5,) * 3, (0.25,) * 3)(frames)
    assert torch.equal(frames, before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": [127] * 3},
        {"mean": [0.5]},
        {"mean": 0.5},
        {"std": [0, 0.5, 0.5]},
        {"std": ["0.5"] * 3},
        {"resize_mode": "stretch"},
        {"interpolation": "nearest"},
    ],
)
def test_settings_that_open_clip_reads_as_others_are_refused(wrong):
    good = {"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3}
    good |= {"resize_mode": "squash", "interpolation": "bilinear"}
    assert Preprocess.from_config(good).resize_mode == "squash"
    with pytest.raises(CheckpointError, match=f"got {next(iter(wrong))} .*expected"):
        Preprocess.from_config({**good, **wrong})
