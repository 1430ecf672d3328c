import json
from pathlib import Path

import pytest

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model import spec as spec_module
from rllib_vlm_reward.reward_model.spec import Spec, absolute_spec, shipped_names


@pytest.mark.parametrize(
    ("text", "model", "weights"),
    [
        ("ViT-B-32/openai", "ViT-B-32", "openai"),
        ("ViT-B-32/random", "ViT-B-32", None),
        ("hf-hub:org/name", "hf-hub:org/name", "hf-hub:org/name"),
        ("ViT-B-32", "ViT-B-32", ""),
    ],
)
def test_names(text, model, weights):
    assert Spec.parse(text) == Spec(text, model, weights)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth", "a.bin"])
def test_a_file_absolute_or_relative(tmp_path, monkeypatch, name):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).touch()
    absolute = Spec.parse(f"ViT-B-32/{tmp_path}/sub/{name}")
    assert absolute.model == "ViT-B-32"
    assert absolute.weights == tmp_path / "sub" / name
    monkeypatch.chdir(tmp_path)
    assert Spec.parse(f"ViT-B-32/sub/{name}").weights == Path("sub") / name
    relative, absolute = f"ViT-B-32/sub/{name}", f"ViT-B-32/{tmp_path}/sub/{name}"
    assert absolute_spec(relative, str(tmp_path)) == absolute_spec(absolute, "/") == absolute


def test_a_missing_file_says_where(tmp_path):
    with pytest.raises(CheckpointError, match=rf"no file {tmp_path}/gone\.pt"):
        Spec.parse(f"ViT-B-32/{tmp_path}/gone.pt")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "weights.npz").touch()
    with pytest.raises(CheckpointError, match=r"ends in '\.npz', expected one of \.safetensors"):
        Spec.parse(f"ViT-B-32/{tmp_path}/weights.npz")


@pytest.mark.parametrize("tail", ["", "/random", "/weights.safetensors"])
def test_a_configuration_alone_says_what_else_is_needed(tiny_clip, tail):
    with pytest.raises(
        CheckpointError, match=rf"Give its folder, '{tiny_clip}', which must also hold"
    ):
        Spec.parse(f"{tiny_clip}/open_clip_config.json{tail}")
    for own in ("my-clip.json", "~/models/my-clip.json"):
        with pytest.raises(CheckpointError) as caught:
            Spec.parse(f"{own}{tail}")
        for part in (own, "model_cfg: the content of my-clip.json", "open_clip_model.safetensors"):
            assert part in str(caught.value)


def test_a_folder(tiny_clip):
    parsed = Spec.parse(tiny_clip)
    assert parsed.model == f"local-dir:{tiny_clip}"
    assert parsed.weights == Path(tiny_clip) / "open_clip_model.safetensors"


@pytest.mark.parametrize("missing", ["open_clip_config.json", "open_clip_model.safetensors"])
def test_an_incomplete_folder_says_what_it_holds(tmp_path, missing):
    for name in {"open_clip_config.json", "open_clip_model.safetensors", "other"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=r"holds \[.*'other'\], expected open_clip_config"):
        Spec.parse(str(tmp_path))


@pytest.mark.parametrize("content", ["not json", "[]", json.dumps({"model_cfg": {}})])
def test_a_folder_with_a_foreign_configuration(tmp_path, content):
    (tmp_path / "open_clip_config.json").write_text(content)
    (tmp_path / "open_clip_model.safetensors").touch()
    with pytest.raises(CheckpointError, match="is not open_clip's configuration"):
        Spec.parse(str(tmp_path))


def test_a_shipped_clip_is_found_by_name(tiny_clip, monkeypatch):
    monkeypatch.setattr(spec_module, "_SHIPPED", Path(tiny_clip).parent)
    assert shipped_names() == ["tiny"]
    assert Spec.parse("tiny").model == f"local-dir:{tiny_clip}"
    assert Spec.parse("tiny/random") == Spec("tiny/random", f"local-dir:{tiny_clip}", None)


def test_a_folders_architecture_with_random_weights(tiny_clip, tmp_path, monkeypatch):
    spec = f"{tiny_clip}/random"
    assert Spec.parse(spec) == Spec(spec, f"local-dir:{tiny_clip}", None)
    (tmp_path / "ViT-B-32").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Spec.parse("ViT-B-32/random").model == "ViT-B-32"
