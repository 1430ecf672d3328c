"""Rewards that are wrong in a known way, and scores that are made up."""

import numpy as np
import torch

from rllib_vlm_reward.evaluation.judged import Judged
from rllib_vlm_reward.evaluation.labelled import LabelledFrames, encode
from rllib_vlm_reward.evaluation.recognition import Recognition
from rllib_vlm_reward.goal_config import GoalConfig


def mixed(seed):
    """Return a change of weights: each tensor's numbers in another order, its spread kept."""

    def change(weights):
        order = torch.Generator().manual_seed(seed)
        return {
            name: each.flatten()[torch.randperm(each.numel(), generator=order)].view(each.shape)
            for name, each in weights.items()
        }

    return change


def blind(weights):
    """Change weights so that no picture makes a difference."""
    return {**weights, "visual.proj": torch.zeros_like(weights["visual.proj"])}


def shuffled(config, seed):
    """Return the reward with each goal's prompt exchanged for another goal's."""
    goals = config.goal_set.goals
    rng = np.random.default_rng(seed)
    order = np.arange(len(goals))
    while (order == np.arange(len(goals))).any():
        order = rng.permutation(len(goals))
    swapped = tuple(
        GoalConfig(text=goal.text, prompt=goals[other].prompt)
        for goal, other in zip(goals, order, strict=True)
    )
    return config.model_copy(update={"goals": swapped})


def scored(config, scores, labels, *, goals=None, episodes=None, steps_to_go=None, **recognition):
    """Return frames, each another grey, as a made-up reward scores them."""
    number = len(scores)
    frames = LabelledFrames.of(
        [encode(np.full((8, 8, 3), row % 256, np.uint8)) for row in range(number)],
        goals or [config.goal_set.texts[0]] * number,
        labels,
        episodes=episodes or [str(row) for row in range(number)],
        steps_to_go=steps_to_go,
    )
    unknown = np.full(number, np.nan)
    known = {"hits": unknown, "chance": unknown, "taken_for": {}, **recognition}
    return Judged(
        config=config,
        fingerprint="0" * 64,
        frames=frames,
        scores=np.asarray(scores, np.float32),
        recognition=Recognition(**known),
        threshold=0.5 if config.threshold is None else config.threshold,
    )
