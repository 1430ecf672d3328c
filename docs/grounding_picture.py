"""Draws grounding/map.png: frames, the probability of the goal's noun, and what is paid.

python docs/grounding_picture.py docs/grounding/map.png
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from rllib_vlm_reward.envs.babyai.env import BabyAI, make_lift
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.reward_model.readouts import Focal

ENCODER = "grounded"
GOALS = ("pick up the red ball", "pick up the blue key")
NOTHING = ("nothing",)
FRAMES = 5
OTHERS = tuple(
    f"the {color} {kind}"
    for color in ("red", "green", "blue", "purple", "yellow", "grey")
    for kind in ("ball", "box", "key")
)


def episode(goal: str) -> np.ndarray:
    """Return frames of the expert's way to a goal, uint8 ``[FRAMES, H, W, 3]``."""
    env = make_lift(room_size=8, num_objects=6, end_on_success=False)
    env.reset(seed=7, options={"goal": goal})
    frames = [env.render().copy()]
    for _ in range(int(env.steps_to_go())):
        frames.append(env.step(env.expert_action())[0].copy())
    chosen = np.linspace(0, len(frames) - 1, FRAMES).astype(int)
    return np.stack([frames[place] for place in chosen])


def maps(goal: str, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p and p × Gaussian of each patch, ``[FRAMES, h, w]``, and the focal number."""
    encoder = load_encoder(ENCODER, precision="fp32")
    focal = Focal(
        (goal.removeprefix("pick up "),), (*OTHERS, *NOTHING), centre=BabyAI.agent_position
    )
    texts = encoder.encode_texts(focal.texts)
    patches = encoder.tower.with_patches(frames)[1]
    goals = torch.zeros(len(frames), dtype=torch.int64)
    number = focal(patches, texts, goals, encoder.logit_scale)[:, 0].numpy()
    noun = focal.texts.index(focal.nouns[0])
    probability = (encoder.logit_scale * patches @ texts.T).softmax(dim=3)[..., noun].numpy()
    x, y = (np.arange(7) + 0.5) / 7 - np.array(BabyAI.agent_position)[:, None]
    kernel = np.exp(-4.5 * (x**2 + y[:, None] ** 2))
    return probability, probability * kernel / kernel.max(), number


def main() -> None:
    """Write the picture to the path of the command line."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(3 * len(GOALS), FRAMES, figsize=(7, 4.1 * len(GOALS)))
    for row, goal in enumerate(GOALS):
        frames = episode(goal)
        probability, weighed, number = maps(goal, frames)
        for column in range(FRAMES):
            frame, p, product = axes[3 * row : 3 * row + 3, column]
            frame.imshow(frames[column])
            for axis, values in ((p, probability), (product, weighed)):
                axis.imshow(values[column], vmin=0, vmax=1, cmap="magma")
            product.set_xlabel(f"{number[column]:.4f}", fontsize=8)
        axes[3 * row, FRAMES // 2].set_title(goal, fontsize=9)
        for offset, name in enumerate(("frame", "p", "p × Gaussian")):
            axes[3 * row + offset, 0].set_ylabel(name, fontsize=8)
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
