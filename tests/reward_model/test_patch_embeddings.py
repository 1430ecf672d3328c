"""A patch's embedding is that of the last block in which each token sees only itself."""

import contextlib

import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import nn
from torch.nn.functional import linear, normalize

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.reward_model import patches as module
from rllib_vlm_reward.reward_model.patches import has_patches, patch_grid_of, with_patches

SIZE = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}


def spread(module):
    """Draw all weights anew, since norms and biases begin as if they were not there."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    return module.eval()


def in_open_clip(trunk):
    visual = TimmModel.__new__(TimmModel)
    nn.Module.__init__(visual)
    visual.trunk, visual.head = trunk, nn.Sequential()
    return spread(visual)


def vit(**options):
    """The class of ViT-B-16."""
    size = {"image_size": (16, 24), "patch_size": 8, "width": 32, "layers": 3, "heads": 2}
    return spread(VisionTransformer(**size, mlp_ratio=4.0, output_dim=12, **options))


def eva02():
    """The class of EVA02-B-16: positions in the attention, SwiGLU, separate q, k and v."""
    return in_open_clip(
        Eva(
            **SIZE,
            num_classes=12,
            global_pool="token",
            qkv_fused=False,
            mlp_ratio=2.0,
            swiglu_mlp=True,
            scale_mlp=True,
            use_rot_pos_emb=True,
            ref_feat_shape=(2, 3),
        )
    )


def siglip():
    """The class of a SigLIP: no class token, an attention pool."""
    return in_open_clip(
        TimmVisionTransformer(**SIZE, num_classes=0, class_token=False, global_pool="map")
    )


def entering(visual, block, pixels):
    """Return what enters a block in the model's own forward pass, [B, N, C]."""
    kept = []
    handle = block.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    visual(pixels)
    handle.remove()
    return kept[0]


def masked(queries, keys, values, heads):
    """Multi-head attention, [B, N, C] each, in which token i sees token i only."""
    split = [each.unflatten(2, (heads, -1)).transpose(1, 2) for each in (queries, keys, values)]
    mask = torch.full((queries.shape[1],) * 2, -torch.inf).fill_diagonal_(0.0)
    logits = split[0] @ split[1].transpose(2, 3) / split[0].shape[-1] ** 0.5 + mask
    return (logits.softmax(dim=3) @ split[2]).transpose(1, 2).flatten(2)


def expected_vit(visual, pixels):
    block = visual.transformer.resblocks[-1]
    x = entering(visual, block, pixels)
    qkv = linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=2)
    x = x + block.ls_1(block.attn.out_proj(masked(*qkv, heads=2)))
    x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return visual.ln_post(x)[:, 1:] @ visual.proj


def expected_eva02(visual, pixels):
    block = visual.trunk.blocks[-1]
    x = entering(visual, block, pixels)
    attn, normed = block.attn, block.norm1(x)
    qkv = attn.q_proj(normed), attn.k_proj(normed), attn.v_proj(normed)
    x = x + attn.proj(attn.norm(masked(*qkv, heads=2)))
    x = x + block.mlp(block.norm2(x))
    return visual.trunk.head(visual.trunk.fc_norm(visual.trunk.norm(x)))[:, 1:]


def expected_siglip(visual, pixels):
    block, pool = visual.trunk.blocks[-1], visual.trunk.attn_pool
    x = entering(visual, block, pixels)
    qkv = block.attn.qkv(block.norm1(x)).chunk(3, dim=2)
    x = x + block.attn.proj(masked(*qkv, heads=2))
    x = visual.trunk.norm(x + block.mlp(block.norm2(x)))
    # The pool's query sees one patch, so its attention is that patch's value.
    values = pool.proj(pool.kv(x).chunk(2, dim=2)[1])
    return values + pool.mlp(pool.norm(values))


@pytest.mark.parametrize(
    ("visual", "expected"),
    [
        (vit(), expected_vit),
        (vit(pool_type="avg", final_ln_after_pool=True, no_ln_pre=True), expected_vit),
        (vit(ls_init_value=0.1), expected_vit),
        (eva02(), expected_eva02),
        (siglip(), expected_siglip),
    ],
    ids=["ViT", "CLIPA", "layer scale", "EVA02", "SigLIP"],
)
@torch.inference_mode()
def test_a_patch_is_the_last_block_under_a_mask(visual, expected):
    pixels = torch.randn(4, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    features, patches = with_patches(visual, pixels)
    assert patches.shape[:3] == (4, 2, 3)
    torch.testing.assert_close(
        patches.flatten(1, 2), normalize(expected(visual, pixels), dim=2), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(features, visual(pixels), atol=1e-6, rtol=1e-6)
    # A patch is not what the whole frame is.
    whole = normalize(features, dim=1)[:, None, None]
    assert float((patches - whole).abs().amax(dim=3).min()) > 0.01


@torch.inference_mode()
def test_the_pool_of_coca_takes_each_patch_alone():
    visual = vit(attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=2)
    pixels = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    _, patches = with_patches(visual, pixels)
    block, pool = visual.transformer.resblocks[-1], visual.attn_pool
    x = entering(visual, block, pixels)
    qkv = linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=2)
    x = x + block.attn.out_proj(masked(*qkv, heads=2))
    x = pool.ln_k(x + block.mlp(block.ln_2(x)))[:, 1:]
    values = linear(x, pool.attn.v_proj_weight, pool.attn.in_proj_bias[-12:])
    pooled = visual.ln_post(pool.attn.out_proj(values)) @ visual.proj
    torch.testing.assert_close(patches.flatten(1, 2), normalize(pooled, dim=2), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_only_so_many_patches_pass_the_last_block_at_once(monkeypatch):
    """A kernel of a GPU takes 65,535 sequences; 256 frames of ViT-L-14-336 have 147,456 patches."""
    visual, sizes = vit(), []
    pixels = torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = with_patches(visual, pixels)[1]
    monkeypatch.setattr(module, "MOST_SEQUENCES", 4)
    block = visual.transformer.resblocks[-1]
    block.register_forward_pre_hook(lambda _, given: sizes.append(tuple(given[0].shape[:2])))
    torch.testing.assert_close(with_patches(visual, pixels)[1], whole, atol=1e-6, rtol=0)
    assert [size for size in sizes if size[1] == 1] == [(4, 1)] * 4 + [(2, 1)]


def resnet():
    return ModifiedResNet([1, 1, 1, 1], output_dim=8, heads=2, image_size=32, width=8)


def convnext():
    return in_open_clip(ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=0))


@pytest.mark.parametrize(("tower", "named"), [(resnet, "ModifiedResNet"), (convnext, "ConvNeXt")])
def test_a_tower_without_patches_is_refused_by_name(tower, named):
    with pytest.raises(
        RewardError, match=f"got the encoder '{named}', .* expected a ViT .* Choose"
    ):
        with_patches(tower(), torch.zeros(1, 3, 32, 32))


def test_one_block_is_too_few():
    size = {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "heads": 2}
    visual = VisionTransformer(**size, mlp_ratio=4.0, output_dim=12)
    with pytest.raises(RewardError, match="at least two layers"):
        with_patches(visual, torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": 1},
        {"attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2},
        {"attentional_pool": "parallel", "attn_pooler_queries": 5, "attn_pooler_heads": 2},
        {"attentional_pool": "cascade", "attn_pooler_queries": 5, "attn_pooler_heads": 2},
    ],
    ids=str,
)
@torch.inference_mode()
def test_the_configuration_and_the_tower_agree(options):
    expected = contextlib.nullcontext()
    if not has_patches(options):
        expected = pytest.raises(RewardError, match="has no patch embeddings")
    size = {"image_size": (16, 24), "patch_size": 8, "width": 32, "layers": 3, "heads": 2}
    visual = VisionTransformer(**{**size, **options}, mlp_ratio=4.0, output_dim=12).eval()
    with expected:
        with_patches(visual, torch.zeros(1, 3, 16, 24))


@pytest.mark.parametrize(
    ("name", "grid"),
    [("ViT-B-32", (7, 7)), ("ViT-L-14-336", (24, 24)), ("EVA02-B-16", (14, 14))],
)
def test_the_number_of_patches_is_known_from_the_configuration(name, grid):
    config = open_clip.get_model_config(name)["vision_cfg"]
    assert patch_grid_of(config) == grid


@torch.inference_mode()
def test_the_number_of_patches_is_that_of_the_tower():
    size = {"image_size": (16, 24), "patch_size": 8, "width": 32, "layers": 2, "heads": 2}
    visual = VisionTransformer(**size, mlp_ratio=4.0, output_dim=12).eval()
    patches = with_patches(visual, torch.zeros(1, 3, 16, 24))[1]
    assert patch_grid_of(size) == tuple(patches.shape[1:3]) == (2, 3)


def test_what_has_patches_is_known_from_the_configuration():
    known = {name: has_patches(open_clip.get_model_config(name)["vision_cfg"]) for name in LISTED}
    assert known == LISTED


LISTED = {
    "ViT-B-32": True,
    "EVA02-B-16": True,
    "ViT-B-16-SigLIP": True,
    "RN50": False,
    "convnext_base": False,
    "swin_base_patch4_window7_224": False,
    "MobileCLIP-B": False,
    "MobileCLIP-S1": False,
}
