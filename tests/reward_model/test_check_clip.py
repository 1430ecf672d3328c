"""What is known of an encoder before its weights are read."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model import clip, fetching
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import check_encoder, embed_dim
from rllib_vlm_reward.settings import find_config

CHECKPOINTS = Path(clip.__file__).parent / "checkpoints"


@pytest.fixture
def with_transformers(monkeypatch):
    """Some specs need the package, which the tests do without."""
    found = SimpleNamespace(find_spec=lambda name: object())
    monkeypatch.setattr(fetching, "importlib", SimpleNamespace(util=found))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ViT-B-33/openai", r"no architecture 'ViT-B-33'.*ViT-B-32"),
        ("runs/clip", r"no folder 'runs/clip'"),
        ("ViT-B-32", r"got no tag\. Expected 'ViT-B-32/TAG'.*\['openai', .*'random'"),
        ("ViT-B-32/laion9b", r"'laion9b' is neither a file nor a tag.*laion2b_s34b_b79k"),
        ("ViT-B-32/gone.pt", r"no file gone\.pt"),
        ("ViT-B-32/openai", r"QuickGELU.*Use 'ViT-B-32-quickgelu/openai'"),
        ("ViT-H-14/dfn5b", r"Use 'ViT-H-14-quickgelu/dfn5b'"),
        ("openai/clip-vit-base-patch32", r"Hugging Face.*Use 'ViT-B-32-quickgelu/openai'"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", r"Use 'ViT-B-32/laion2b_s34b_b79k'"),
        ("google/siglip-base-patch16-224", r"or 'hf-hub:google/siglip-base-patch16-224' if"),
    ],
)
@pytest.mark.parametrize("door", [check_encoder, embed_dim, CLIPEncoder.load])
def test_every_door_refuses_with_a_remedy(door, spec, said):
    with pytest.raises(CheckpointError, match=f"^encoder {spec!r}: .*{said}"):
        door(spec)


@pytest.mark.parametrize("spec", ["1234567890", "/no/such/folder", "?"])
def test_a_name_like_no_other_gets_no_empty_list(spec):
    with pytest.raises(CheckpointError) as caught:
        check_encoder(spec)
    assert "Did you mean" not in str(caught.value)
    assert "Correct the name or the path" in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "ViT-B-32-quickgelu/openai",
        "ViT-B-32/laion2b_s34b_b79k",
        "ViT-B-32/laion2b-s34b-b79k",  # open_clip reads a hyphen as an underscore
        "ViT-H-14-quickgelu/dfn5b",
        "ViT-B-16-SigLIP/webli",
        "roberta-ViT-B-32/laion2b_s12b_b32k",
        "convnext_base/random",
        "ViT-B-32/random",
        "hf-hub:org/name",
    ],
)
def test_good_specs_pass_without_loading(spec, with_transformers):
    check_encoder(spec)


def test_every_tag_of_open_clip_passes_or_names_one_that_does(with_transformers):
    for name, tag in open_clip.list_pretrained():
        if open_clip.get_model_config(name) is None:
            continue
        try:
            check_encoder(f"{name}/{tag}")
        except CheckpointError:
            check_encoder(f"{name}-quickgelu/{tag}")


def test_embed_dim_reads_no_weights():
    assert embed_dim("ViT-H-14/random") == 1024
    assert embed_dim("ViT-B-16-SigLIP/webli") == 768


def test_a_precision_is_refused_for_an_encoder_of_ones_own():
    own = "rllib_vlm_reward.reward_model.encoder.Encoder"
    check_encoder(own)
    with pytest.raises(CheckpointError, match="got precision 'bf16', expected auto"):
        check_encoder(own, "bf16")


@pytest.mark.parametrize("spec", [*clip._OPENAI_TWINS])
def test_the_twin_that_an_error_names_is_accepted(spec):
    with pytest.raises(CheckpointError) as caught:
        check_encoder(spec)
    check_encoder(str(caught.value).split("Use '")[1].split("'")[0])


def test_the_twins_in_open_clips_table_are_accepted(with_transformers):
    hubs = {
        open_clip.get_pretrained_cfg(*pair).get("hf_hub") for pair in open_clip.list_pretrained()
    }
    for hub in sorted(hub.strip("/") for hub in hubs if hub):
        with pytest.raises(CheckpointError) as caught:
            check_encoder(hub)
        if "Use '" in str(caught.value):
            check_encoder(str(caught.value).split("Use '")[1].split("'")[0])


def test_a_tilde_is_the_home_folder(tiny_clip, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(tiny_clip, tmp_path / "clip")
    check_encoder("~/clip")
    check_encoder("~/clip/random")
    weights = "~/clip/open_clip_model.safetensors"
    check_encoder(f"ViT-B-32/{weights}")
    (tmp_path / "goals.yaml").write_text("[a red ball, a blue key]")
    reward = VLMRewardConfig(encoder="~/clip", goals="~/goals.yaml")
    assert reward.goal_set.texts == ("a red ball", "a blue key")
    assert find_config("~/goals.yaml") == tmp_path / "goals.yaml"


CASES = Path(__file__).parent.parent / "cases" / "folders"


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no_preprocess_cfg", "KeyError: 'preprocess_cfg'"),
        ("no_std", r"got std None, expected three numbers"),
        ("mean_127", r"got mean \[127, 127, 127\], expected three numbers from 0 to 1"),
        ("resize_mode_stretch", r"got resize_mode 'stretch', expected one of \['shortest'"),
    ],
)
def test_preprocessing_that_open_clip_would_not_write_is_refused(case, says, tmp_path):
    shutil.copytree(CHECKPOINTS / "small", tmp_path / "clip")
    shutil.copyfile(CASES / f"{case}.json", tmp_path / "clip" / "open_clip_config.json")
    for spec in (f"{tmp_path}/clip", f"{tmp_path}/clip/random"):
        with pytest.raises(CheckpointError, match=says):
            check_encoder(spec)


@pytest.mark.parametrize("heads", [1, 4])
def test_text_settings_of_the_same_shapes_are_found_by_a_stored_embedding(heads, tmp_path):
    shutil.copytree(CHECKPOINTS / "small", tmp_path / "clip")
    file = tmp_path / "clip" / "open_clip_config.json"
    config = json.loads((CASES / "other_heads.json").read_text())
    for settings in (config, json.loads(file.read_text())):
        settings["model_cfg"]["text_cfg"]["heads"] = heads
    assert config == settings  # nothing else differs
    file.write_text(json.dumps(config))
    with pytest.raises(
        CheckpointError, match=r"has the cosine 0\.\d+ with the one in metrics.json"
    ):
        CLIPEncoder.load(f"{tmp_path}/clip")


@pytest.mark.parametrize("content", ["no json", "[]", '{"probe": 3, "vocabulary": null}'])
def test_a_metrics_file_of_another_program_is_not_read(content, tmp_path):
    shutil.copytree(CHECKPOINTS / "small", tmp_path / "clip")
    (tmp_path / "clip" / "metrics.json").write_text(content)
    assert CLIPEncoder.load(f"{tmp_path}/clip").embed_dim == 64
    check_encoder(f"{tmp_path}/clip", goals=[GoalSet.from_texts(["anything", "goes"])])


def changed(tmp_path, name, change):
    """A copy of a CLIP in one of whose files, JSON, something was changed."""
    folder = shutil.copytree(CHECKPOINTS / "small", tmp_path / "clip")
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    return str(folder)


def check_and_load(spec):
    check_encoder(spec, goals=GOALS_OF_SMALL)
    CLIPEncoder.load(spec)


GOALS_OF_SMALL = [GoalSet.from_texts(["the agent is carrying a red ball"], num_negatives=0)]


@pytest.mark.parametrize("value", [None, "x", 0, -1, 1.5, [], {}])
@pytest.mark.parametrize(
    "key",
    [
        *("embed_dim", "vision_cfg", "text_cfg"),
        *("vision_cfg.patch_size", "vision_cfg.width", "vision_cfg.head_width"),
        *("vision_cfg.image_size", "text_cfg.context_length", "text_cfg.width", "text_cfg.heads"),
        *("vision_cfg.layers", "text_cfg.layers"),
    ],
)
def test_wrong_values_of_a_folders_configuration_are_errors_of_ours(key, value, tmp_path):
    *groups, last = ("model_cfg." + key).split(".")

    def change(config):
        for group in groups:
            config = config[group]
        config[last] = value

    spec = changed(tmp_path, "open_clip_config.json", change)
    if (key, value) in (("vision_cfg", {}), ("text_cfg", {})):
        pytest.skip("these are open_clip's defaults, of another shape")
    with pytest.raises(CheckpointError, match=r"^encoder |weights are of another"):
        check_and_load(spec)


@pytest.mark.parametrize("value", ["x", 5, True, [1], [None], {"a": 5}, {"a": [5]}])
@pytest.mark.parametrize("key", ["vocabulary", "statements", "settings"])
def test_what_another_program_wrote_of_the_training_is_not_read(key, value, tmp_path):
    check_encoder(
        changed(tmp_path, "metrics.json", lambda content: content.update({key: value})),
        goals=GOALS_OF_SMALL,
    )


@pytest.mark.parametrize("numbers", ["x", 5, [1, 2], [[1]], [float("nan")] * 64, [None] * 64])
def test_a_stored_embedding_that_is_none_is_an_error(numbers, tmp_path):
    probe = {"text": "a ball", "embedding": numbers}
    spec = changed(tmp_path, "metrics.json", lambda content: content.update(probe=probe))
    with pytest.raises(CheckpointError, match=r"has the cosine nan .* remove probe"):
        CLIPEncoder.load(spec)
