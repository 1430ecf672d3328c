"""Draws grounding/policy.png: frames, and what the map of a policy shows of them for two goals.

python docs/goal_map_picture.py docs/grounding/policy.png
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.map_reader import MapReader
from rllib_vlm_reward.envs.babyai.env import make_lift
from rllib_vlm_reward.reward_model.encoder import load_encoder
from rllib_vlm_reward.run.frame_pictures import lit

GOALS = ("pick up the red ball", "pick up the blue key")
FRAMES = 5
REWARD = VLMRewardConfig(
    encoder="grounded",
    goals=["pick up the {red|green|blue|purple|yellow|grey} {ball|box|key}"],
    templates=[
        {
            "goal": "pick up {}",
            "prompt": "the agent is carrying {}",
            "nothing": "the agent is carrying nothing",
            "noun": "{}",
        }
    ],
    goal_map=True,
    mode="synchronous",
)


def episode() -> np.ndarray:
    """Return frames of the expert's way to the first goal, uint8 ``[FRAMES, H, W, 3]``.

    It is the first episode whose room has both things.
    """
    env = make_lift(room_size=8, num_objects=6, end_on_success=False)
    things = {tuple(goal.split()[-2:]) for goal in GOALS}
    for seed in range(1000):
        env.reset(seed=seed, options={"goal": GOALS[0]})
        cells = (env.unwrapped.grid.get(*divmod(cell, 8)) for cell in range(64))
        if things <= {(cell.color, cell.type) for cell in cells if cell is not None}:
            break
    frames = [env.render().copy()]
    for _ in range(int(env.steps_to_go())):
        frames.append(env.step(env.expert_action())[0].copy())
    chosen = np.linspace(0, len(frames) - 1, FRAMES).astype(int)
    return np.stack([frames[place] for place in chosen])


def main() -> None:
    """Write the picture to the path of the command line."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    read, frames = MapReader(REWARD, load_encoder("grounded", precision="fp32")), episode()
    rows = {"the frame": frames}
    for goal in GOALS:
        rows[goal] = np.stack([lit(frame, read(frame, goal)) for frame in frames])
    figure, axes = plt.subplots(len(rows), FRAMES, figsize=(7, 4.8))
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
            axis.set_xticks([])
            axis.set_yticks([])
        row[FRAMES // 2].set_title(name, fontsize=9)
    figure.tight_layout(pad=0.4, h_pad=1.0)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
