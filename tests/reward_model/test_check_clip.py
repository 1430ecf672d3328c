"""What is known of an encoder before its weights are read."""

import open_clip
import pytest

from rllib_vlm_reward.errors import CheckpointError
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import check_encoder, embed_dim


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ViT-B-33/openai", r"no architecture 'ViT-B-33'.*ViT-B-32"),
        ("runs/clip", r"no folder 'runs/clip'"),
        ("ViT-B-32", r"one of \['openai', .*'random'"),
        ("ViT-B-32/laion9b", r"'laion9b' is neither a file nor a tag.*laion2b_s34b_b79k"),
        ("ViT-B-32/gone.pt", r"no file gone\.pt"),
        ("ViT-B-32/openai", r"QuickGELU.*Use 'ViT-B-32-quickgelu/openai'"),
        ("ViT-H-14/dfn5b", r"Use 'ViT-H-14-quickgelu/dfn5b'"),
    ],
)
@pytest.mark.parametrize("door", [check_encoder, embed_dim, CLIPEncoder.load])
def test_every_door_refuses_with_a_remedy(door, spec, said):
    with pytest.raises(CheckpointError, match=f"^encoder {spec!r}: .*{said}"):
        door(spec)


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
def test_good_specs_pass_without_loading(spec):
    check_encoder(spec)


def test_every_tag_of_open_clip_passes_or_names_one_that_does():
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
