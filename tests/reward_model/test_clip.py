"""The encoder against open_clip itself, and everything that must not load."""

import copy
import json
import shutil

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rllib_vlm_reward.errors import CheckpointError, FrameError
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import check_encoder, embed_dim
from rllib_vlm_reward.reward_model.precision import DTYPES, probe_frames

TEXTS = ["a red ball", "the agent is carrying a blue key", "", "nothing " * 40]
SIGLIP = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
OPENAI = {**SIGLIP, "mean": [0.4, 0.5, 0.6], "resize_mode": "shortest"}


@pytest.fixture(scope="module")
def config(tiny_clip):
    with open(f"{tiny_clip}/open_clip_config.json") as file:
        return json.load(file)


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return CLIPEncoder.load(tiny_clip, precision="fp32")


@pytest.fixture(scope="module")
def reference(tiny_clip):
    """open_clip's own model, transform and tokenizer."""
    name = f"local-dir:{tiny_clip}"
    model, transform = open_clip.create_model_from_pretrained(name)
    return model.eval(), transform, open_clip.get_tokenizer(name)


@pytest.fixture
def architecture(config, monkeypatch):
    """Register an architecture with open_clip; yields a function of configuration and tags."""

    def register(name="Tiny-8", tags=(), **changes):
        built = copy.deepcopy(config["model_cfg"])
        for key, value in changes.items():
            section = built.get(key)
            built[key] = {**section, **value} if isinstance(section, dict) else value
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, built)
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, dict(tags))
        return name

    return register


@pytest.fixture(scope="module")
def weights(tiny_clip):
    return f"{tiny_clip}/open_clip_model.safetensors"


def frames_of(batch=3, height=56, width=56):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, height, width, 3), np.uint8)


# --- Embeddings


@pytest.mark.parametrize(("size", "tolerance"), [((56, 56), 1e-5), ((120, 90), 2e-3)])
def test_images_as_open_clip_embeds_them(encoder, reference, size, tolerance):
    model, transform, _ = reference
    frames = frames_of(4, *size)
    with torch.no_grad():
        pixels = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
        expected = model.encode_image(pixels, normalize=True)
    np.testing.assert_allclose(encoder.encode_frames(frames), expected, atol=tolerance)


def test_texts_as_open_clip_embeds_them(encoder, reference):
    model, _, tokenizer = reference
    with torch.no_grad():
        expected = model.encode_text(tokenizer(TEXTS), normalize=True)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), expected, atol=1e-5)


def test_many_texts_go_through_in_batches_and_in_order(encoder):
    texts = [f"a ball of colour {i}" for i in range(600)]
    together = encoder.encode_texts(texts)
    chosen = [0, 255, 256, 511, 512, 599]
    alone = torch.cat([encoder.encode_texts([texts[i]]) for i in chosen])
    np.testing.assert_allclose(together[chosen], alone, atol=1e-5)


def test_what_the_model_says_of_itself(encoder, reference, tiny_clip):
    model = reference[0]
    assert encoder.embed_dim == embed_dim(tiny_clip) == 16
    assert encoder.image_size == (56, 56)
    assert encoder.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert encoder.logit_bias is None


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_precisions_on_the_cpu(tiny_clip, encoder, precision):
    low = CLIPEncoder.load(tiny_clip, precision=precision)
    assert low.preprocess(frames_of()).dtype == DTYPES[precision] == low.tower.dtype
    embeddings, exact = (each.encode_frames(frames_of(5, 70, 90)) for each in (low, encoder))
    assert embeddings.dtype == torch.float32
    assert not embeddings.requires_grad
    np.testing.assert_allclose(embeddings.norm(dim=1), 1, atol=1e-5)
    assert (embeddings * exact).sum(dim=1).min() > 0.999
    assert torch.equal(embeddings, exact) == (precision == "fp32")
    assert torch.equal(low.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    assert low.fingerprint == encoder.fingerprint
    assert low.logit_scale == encoder.logit_scale


def test_preprocessing_is_computed_in_float32_and_then_cast(tiny_clip, encoder):
    low = CLIPEncoder.load(tiny_clip, precision="bf16")
    frames = frames_of(2, 80, 100)
    assert torch.equal(low.preprocess(frames), encoder.preprocess(frames).bfloat16())


def test_auto_is_the_best_precision_and_keeps_the_exact_tower(tiny_clip, encoder, monkeypatch):
    best = "rllib_vlm_reward.reward_model.precision.best_precision"
    for precision in ("fp32", "bf16"):
        monkeypatch.setattr(best, lambda device, precision=precision: precision)
        auto = CLIPEncoder.load(tiny_clip, precision="auto")
        named = CLIPEncoder.load(tiny_clip, precision=precision)
        assert auto.precision == named.precision == precision
        assert torch.equal(auto.encode_frames(frames_of()), named.encode_frames(frames_of()))
        assert named.exact is None
        if precision == "fp32":
            assert auto.exact is auto.probes is named.probes is None
    assert torch.equal(auto.exact(frames_of()), encoder.encode_frames(frames_of()))
    probes = probe_frames(encoder.image_size)
    for exact, low in (auto.probes, named.probes):
        assert torch.equal(exact, encoder.encode_frames(probes))
        assert torch.equal(low, named.encode_frames(probes))


@pytest.mark.parametrize("kind", ["custom_text", "coca", "resnet", "timm"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_towers_of_every_kind_embed_as_their_models_do(architecture, kind, precision):
    changes = {
        "custom_text": {"custom_text": True},
        "coca": {
            "custom_text": True,
            "vision_cfg": {
                "attentional_pool": True,
                "attn_pooler_heads": 2,
                "output_tokens": True,
            },
            "text_cfg": {"embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {"context_length": 77, "width": 32, "heads": 2, "layers": 1},
        },
        "resnet": {"vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64}},
        "timm": {  # as SigLIP's tower is
            "custom_text": True,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_proj": "linear", "image_size": 160},
        },
    }[kind]
    name = architecture(f"Tiny-{kind}", **changes)
    loaded = CLIPEncoder.load(f"{name}/random", precision=precision)
    height, width = loaded.image_size
    frames = frames_of(3, height, width)
    plain = CLIPEncoder.load(f"{name}/random", precision="fp32")
    with torch.inference_mode():
        expected = plain.model.encode_image(plain.preprocess(frames))
    expected = torch.nn.functional.normalize(expected, dim=1)
    cosines = (loaded.encode_frames(frames) * expected).sum(dim=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-5 if precision == "fp32" else 1e-2)


def test_an_unknown_precision(tiny_clip):
    with pytest.raises(CheckpointError, match="'fp8', expected one of auto, fp32, bf16, fp16"):
        CLIPEncoder.load(tiny_clip, precision="fp8")


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    order=st.permutations(range(4)),
)
def test_embeddings_follow_their_frames(encoder, height, width, order):
    frames = frames_of(4, height, width)
    embeddings = encoder.encode_frames(frames)
    np.testing.assert_allclose(embeddings.norm(dim=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_frames(frames[order]), embeddings[order], atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "view",
    [
        lambda frames: frames[:, ::-1],
        lambda frames: frames[:, :, ::2],
        lambda frames: np.asfortranarray(frames),
        lambda frames: frames[:0],
    ],
)
def test_any_layout_of_array(encoder, view):
    frames = frames_of(3, 60, 64)
    frames.flags.writeable = False  # as Ray gives them
    expected = encoder.encode_frames(view(frames).copy(order="C"))
    assert torch.equal(encoder.encode_frames(view(frames)), expected)
    assert expected.shape == (len(view(frames)), 16)


@pytest.mark.filterwarnings("error")
def test_pieces_are_one_batch(encoder):
    frames = frames_of(7, 60, 64)
    frames.flags.writeable = False
    expected = encoder.encode_frames(frames)
    for breaks in ([2], [0, 3, 3, 6], [1, 2, 3, 4, 5, 6]):
        assert torch.equal(encoder.encode_frames(np.split(frames, breaks)), expected)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 56, 56, 3)), np.zeros((2, 56, 56), np.uint8), np.zeros((2, 3, 56, 56), np.uint8)],
)
def test_what_is_no_frame_is_refused(encoder, frames):
    with pytest.raises(FrameError, match="expected uint8"):
        encoder.encode_frames(frames)


def test_nothing_is_trained_or_dropped_out(encoder):
    assert not encoder.model.training
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert torch.equal(encoder.encode_frames(frames_of()), encoder.encode_frames(frames_of()))


# --- Random weights


def test_random_is_not_what_the_folder_holds(tiny_clip, encoder):
    random = CLIPEncoder.load(f"{tiny_clip}/random")
    assert random.embed_dim == encoder.embed_dim
    assert random.fingerprint != encoder.fingerprint


def test_random_weights_are_the_same_everywhere_and_leave_the_callers_seed(architecture):
    spec = f"{architecture()}/random"
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = CLIPEncoder.load(spec)
    assert torch.rand(1) == expected
    assert CLIPEncoder.load(spec).fingerprint == first.fingerprint


def test_loading_does_not_claim_that_weights_are_random(tiny_clip, caplog):
    CLIPEncoder.load(tiny_clip)
    assert "random" not in caplog.text


# --- Files and tags


def test_a_file_of_either_kind_loads_alike(architecture, weights, encoder, tmp_path):
    torch.save(safetensors.torch.load_file(weights), tmp_path / "same.pt")
    name = architecture()
    for path in (weights, tmp_path / "same.pt"):
        assert CLIPEncoder.load(f"{name}/{path}").fingerprint == encoder.fingerprint


def test_half_precision_weights_load_as_what_they_are(
    config, architecture, weights, encoder, tmp_path
):
    half = {k: v.half() for k, v in safetensors.torch.load_file(weights).items()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    name = architecture(tags={"own": config["preprocess_cfg"]})
    loaded = CLIPEncoder.load(f"{name}/{tmp_path}/half.safetensors")
    assert loaded.fingerprint != encoder.fingerprint
    cosines = loaded.encode_frames(frames_of()) * encoder.encode_frames(frames_of())
    assert cosines.sum(dim=1).min() > 0.999


def test_a_tag_brings_its_own_preprocessing(architecture, weights):
    tags = {"webli": {**SIGLIP, "file": weights}, "openai": {**OPENAI, "file": weights}}
    name = architecture(tags=tags)
    frames = np.full((1, 56, 80, 3), 255, np.uint8)
    for tag, mean in (("webli", [0.5] * 3), ("openai", [0.4, 0.5, 0.6])):
        encoder = CLIPEncoder.load(f"{name}/{tag}", precision="fp32")
        pixels = encoder.preprocess(frames)
        np.testing.assert_allclose(pixels[0, :, 0, 0], (1 - np.array(mean)) / 0.5, atol=1e-5)


def test_a_file_has_the_preprocessing_that_its_architecture_always_has(architecture, weights):
    name = architecture(tags={"webli": SIGLIP, "webli_2": SIGLIP})
    loaded = CLIPEncoder.load(f"{name}/{weights}", precision="fp32")
    pixels = loaded.preprocess(np.zeros((1, 9, 9, 3), np.uint8))
    np.testing.assert_allclose(pixels, -1, atol=1e-6)


def test_a_file_whose_preprocessing_is_open_is_refused(architecture, weights):
    name = architecture(tags={"webli": SIGLIP, "openai": OPENAI})
    with pytest.raises(
        CheckpointError, match=r"2 different preprocessings.*folder.*preprocess_cfg"
    ):
        check_encoder(f"{name}/{weights}")
    check_encoder(f"{name}/random")


def test_older_names_are_those_of_a_custom_text_tower(architecture, weights, encoder):
    loaded = CLIPEncoder.load(f"{architecture(custom_text=True)}/{weights}")
    np.testing.assert_allclose(loaded.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-5)


def test_a_sigmoid_models_bias_is_read(architecture, tmp_path):
    name = architecture(init_logit_bias=-10.0, init_logit_scale=2.0)
    model = open_clip.create_model(name)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "a.safetensors")
    architecture(init_logit_bias=0.0)
    loaded = CLIPEncoder.load(f"{name}/{tmp_path}/a.safetensors", precision="bf16")
    assert loaded.logit_bias == -10
    assert loaded.logit_scale == pytest.approx(np.exp(2.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"embed_dim": 24},
        {"vision_cfg": {"layers": 3}},
        {"vision_cfg": {"layers": 1}},
        {"vision_cfg": {"image_size": 64}},  # whose position embeddings open_clip would stretch
        {"text_cfg": {"context_length": 20}},  # likewise
        {"text_cfg": {"vocab_size": 100}},
        {"init_logit_bias": -10.0},  # which open_clip would set to 0
    ],
)
def test_weights_of_another_architecture_do_not_load(architecture, weights, changes):
    with pytest.raises(CheckpointError, match=r"another architecture.* \['"):
        CLIPEncoder.load(f"{architecture(**changes)}/{weights}")


def test_the_weights_of_one_tower_are_not_enough(architecture, weights, tmp_path):
    state = safetensors.torch.load_file(weights)
    tower = {k: v for k, v in state.items() if k.startswith("visual.")}
    safetensors.torch.save_file(tower, tmp_path / "tower.safetensors")
    with pytest.raises(CheckpointError, match="missing"):
        CLIPEncoder.load(f"{architecture()}/{tmp_path}/tower.safetensors")


def test_a_folder_without_weights_does_not_fall_back_to_random(tiny_clip, tmp_path):
    shutil.copy(f"{tiny_clip}/open_clip_config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"expected .*open_clip_model\.safetensors"):
        CLIPEncoder.load(str(tmp_path))


def test_weights_that_cannot_be_fetched(architecture, monkeypatch):
    def offline(*args, **kwargs):
        raise FileNotFoundError("no route to host")

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained_from_hf", offline)
    name = architecture(tags={"webli": {**SIGLIP, "hf_hub": "org/name/"}})
    with pytest.raises(CheckpointError, match=r"weights cannot be fetched.*no route to host"):
        CLIPEncoder.load(f"{name}/webli")
