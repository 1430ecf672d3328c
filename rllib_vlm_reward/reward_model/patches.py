"""Patch embeddings: where in a frame something is, in the space of the texts."""

from collections.abc import Callable, Sequence
from typing import Any

import timm
import timm.models
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor
from torch.nn.functional import normalize

from rllib_vlm_reward.reward_model.encoder import no_patches

__all__ = ["has_patches", "patch_grid_of", "with_patches"]

MOST_SEQUENCES = 32_768  # at once, since torch's attention on a GPU takes at most 65,535
_TIMM_MODULES = ("vision_transformer", "eva")


def has_patches(vision_config: dict[str, Any]) -> bool:
    """Return whether a tower has patches, from open_clip's ``vision_cfg``, without building it.

    Example:
        >>> has_patches({"layers": 12, "patch_size": 16}), has_patches({"layers": [3, 4, 6, 3]})
        (True, False)
        >>> has_patches({"timm_model_name": "convnext_base"})
        False
    """
    name = vision_config.get("timm_model_name")
    if name is not None:
        return bool(timm.models.is_model_in_modules(name, _TIMM_MODULES))
    if isinstance(vision_config.get("attentional_pool"), str):  # two pools, parallel or cascade
        return False
    layers = vision_config.get("layers", 12)
    return isinstance(layers, int) and layers > 1


def patch_grid_of(vision_config: dict[str, Any]) -> tuple[int, int]:
    """Return how many patches a tower has down and across, from open_clip's ``vision_cfg``.

    Args:
        vision_config: the settings of a tower that :func:`has_patches`.

    Example:
        >>> patch_grid_of({"layers": 12, "image_size": 224, "patch_size": 16})
        (14, 14)
        >>> patch_grid_of({"timm_model_name": "vit_base_patch16_siglip_256"})
        (16, 16)
    """
    name = vision_config.get("timm_model_name")
    if name is not None:
        with torch.device("meta"):  # without memory for the weights
            height, width = timm.create_model(name).patch_embed.grid_size
        return height, width
    height, width = _pair(vision_config.get("image_size", 224))
    down, across = _pair(vision_config.get("patch_size", 16))
    return height // down, width // across


def _pair(given: Any) -> tuple[int, int]:
    return (given, given) if isinstance(given, int) else (int(given[0]), int(given[1]))


def with_patches(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Embed frames and their patches in one forward pass.

    A patch goes through the last block as if it were alone: attention gives it its own value, and
    residual, MLP, norm and projection are the model's. That is the last block under a mask that
    lets each token see only itself. In the last block of a CLIP, attention gathers what is said of
    the whole frame; without it, a patch keeps what it shows (MaskCLIP, arXiv 2112.01071; COPL,
    arXiv 2408.01942). A tower with an attention pool, such as SigLIP's, pools each patch alone.

    Args:
        visual: open_clip's ``model.visual``.
        pixels: the model's input, ``[B, 3, H, W]``.

    Returns:
        The embeddings, ``[B, D]``, not normalised, as ``visual(pixels)`` returns them; and the
        patches' embeddings, float32 ``[B, h, w, D]``, unit norm, in rows from the top.

    Raises:
        RewardError: the tower has no patches.
    """
    blocks, project = _parts(visual)
    # What enters the last block is what leaves the last but one.
    found = visual.forward_intermediates(pixels, indices=[len(blocks) - 2])
    entering = found["image_intermediates"][0].permute(0, 2, 3, 1)
    tokens = entering.flatten(0, 2)[:, None]  # sequences of one token
    alone = torch.cat([project(blocks[-1](part)) for part in tokens.split(MOST_SEQUENCES)])
    patches = normalize(alone.float(), dim=1)
    return found["image_features"], patches.view(*entering.shape[:3], -1)


def _parts(visual: Any) -> tuple[Sequence[Any], Callable[[Tensor], Tensor]]:
    """Return the blocks of a tower, and what turns single tokens ``[N, 1, C]`` into ``[N, D]``."""
    if isinstance(visual, VisionTransformer) and not getattr(visual, "attn_pool_type", ""):
        blocks, project = visual.transformer.resblocks, _project
    elif isinstance(visual, TimmModel) and isinstance(visual.trunk, TimmVisionTransformer | Eva):
        blocks, project = visual.trunk.blocks, _project_timm
    else:
        blocks, project = (), _project
    if len(blocks) < 2:
        raise no_patches(type(getattr(visual, "trunk", visual)).__name__)
    return blocks, lambda tokens: project(visual, tokens)


def _project(visual: Any, tokens: Tensor) -> Tensor:
    if visual.attn_pool is not None:  # CoCa's
        tokens = visual.attn_pool(tokens)
    projected: Tensor = visual.ln_post(tokens)[:, 0] @ visual.proj
    return projected


def _project_timm(visual: Any, tokens: Tensor) -> Tensor:
    trunk, tokens = visual.trunk, visual.trunk.norm(tokens)
    pooled = tokens[:, 0] if trunk.attn_pool is None else trunk.attn_pool(tokens)
    projected: Tensor = visual.head(trunk.head(trunk.fc_norm(pooled)))
    return projected
