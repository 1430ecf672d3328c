"""Rewards that are wrong in a known way: weights of no use, goals described by others' prompts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import safetensors.torch
import torch

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.config import GoalConfig
from rllib_vlm_reward.reward_model import spec

CLIPS = Path(spec.__file__).parent / "checkpoints"
Weights = dict[str, torch.Tensor]
Wrong = Callable[[str, int], Weights]  # of an embedded CLIP and a seed


def trained(clip: str, seed: int = 0) -> Weights:
    """Return the weights that an embedded CLIP ships with."""
    return dict(safetensors.torch.load_file(CLIPS / clip / "open_clip_model.safetensors"))


def untrained(clip: str, seed: int) -> Weights:
    """Return open_clip's own random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{CLIPS / clip}", load_weights=False)
    return dict(model.state_dict())


def mixed(clip: str, seed: int) -> Weights:
    """Return each tensor's numbers in another order, their spread kept."""
    order = torch.Generator().manual_seed(seed)
    return {
        name: each.flatten()[torch.randperm(each.numel(), generator=order)].view(each.shape)
        for name, each in trained(clip).items()
    }


def half(clip: str, seed: int) -> Weights:
    """Return a trained text tower with an untrained image tower."""
    known, fresh = trained(clip), untrained(clip, seed)
    return {name: (fresh if name.startswith("visual") else known)[name] for name in known}


def blind(clip: str, seed: int = 0) -> Weights:
    """Return weights with which no picture makes a difference."""
    known = trained(clip)
    return {**known, "visual.proj": torch.zeros_like(known["visual.proj"])}


def save_clip(clip: str, weights: Weights, folder: Path) -> str:
    """Write a CLIP of an embedded one's architecture; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(CLIPS / clip / "open_clip_config.json", folder)
    given = {name: each.contiguous().clone() for name, each in weights.items()}
    safetensors.torch.save_file(given, folder / "open_clip_model.safetensors")
    return str(folder)


def shuffled(config: VLMRewardConfig, seed: int) -> VLMRewardConfig:
    """Return the reward with each goal described by another's prompt."""
    goals = config.goal_set.goals
    rng, order = np.random.default_rng(seed), np.arange(len(goals))
    while (order == np.arange(len(goals))).any():
        order = rng.permutation(len(goals))
    swapped = tuple(
        GoalConfig(text=goal.text, prompt=goals[other].prompt)
        for goal, other in zip(goals, order, strict=True)
    )
    return config.model_copy(update={"goals": swapped})
