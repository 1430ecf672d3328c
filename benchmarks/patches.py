"""What the patches of a bonus cost, and how far bf16 moves it.

    python benchmarks/patches.py

Counts seconds of CPU time with one thread, in fp32, so that what runs beside it hardly matters:
frames with their patches ÷ frames alone. Then it plays BabyAI, and compares in bf16 and in fp32
the mean of p x Gaussian of each frame, for each thing. Ray is not started. Prints one JSON object
last.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from report import encoder_of, finish, in_turn, parser, ratio, shape_of

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.pretraining.world import World
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Cosine
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.readouts import Focal
from rllib_vlm_reward.reward_model.scorer import Scorer

MODELS = ("small", "base", "ViT-B-32")
THINGS = tuple(
    f"the {color} {kind}"
    for color in ("red", "green", "blue", "purple", "yellow", "grey")
    for kind in ("ball", "box", "key")
)


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=5, precision=None)
    options.add_argument("--frames", type=int, default=126, help="frames of BabyAI to compare")
    options.add_argument("--batch", type=int, default=32, help="frames in a timed batch")
    options.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    args = options.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for model in MODELS:
        encoder = CLIPEncoder.load(encoder_of(model), precision="fp32")
        batch = np.random.default_rng(0).integers(
            0, 256, (args.batch, *shape_of(model), 3), np.uint8
        )
        sides = {
            "with": partial(seconds_of, encoder.tower.with_patches, batch, args.seconds),
            "alone": partial(seconds_of, encoder.tower, batch, args.seconds),
        }
        found = in_turn(sides, args.repeats)
        figures[f"with_patches_over_alone, {model}"] = ratio(found["with"], found["alone"])
    frames = played(args.frames)
    for model in ("small", "grounded"):
        figures[f"largest_change_in_bf16, {model}"] = change(model, frames)
    finish("patches", figures, vars(args), args.out)


@torch.inference_mode()
def seconds_of(embed: Callable[[list[Frames]], Any], batch: Frames, least: float) -> float:
    """Return seconds of CPU time for a batch."""
    embed([batch])
    began, times = time.process_time(), 0
    while time.process_time() - began < least:
        embed([batch])
        times += 1
    return (time.process_time() - began) / times


def played(number: int) -> Frames:
    """Return frames of BabyAI."""
    world, frames = World("rllib_vlm_reward/Rooms-v0"), list[Frames]()
    while len(frames) < number:
        seed = len(frames)
        frames += [shown.frame for shown in world.play(seed=seed, layout=seed, steps=20)]
    return np.stack(frames[:number])


def change(model: str, frames: Frames) -> float:
    """Return how far bf16 moves the mean of p x Gaussian, at most over all frames and things."""
    focal = Focal(THINGS, (*THINGS, "nothing"))
    scorer = Scorer(GoalSet.from_texts(THINGS), Cosine(), readouts=(focal,))
    exact, moved = (
        RewardModel(CLIPEncoder.load(model, precision=precision), cache_frames=0)
        for precision in ("fp32", "bf16")
    )
    largest = 0.0
    for thing in range(len(THINGS)):
        goals = np.full(len(frames), thing)
        right, found = (each.answer(frames, goals, scorer)[:, 1] for each in (exact, moved))
        largest = max(largest, float(np.abs(found - right).max()))
    return largest


if __name__ == "__main__":
    main()
