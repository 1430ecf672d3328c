"""Draws house/rooms.png: houses from above, and what the agent sees in them.

python docs/house_picture.py docs/house/rooms.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rllib_vlm_reward.envs.house.env import House
from rllib_vlm_reward.envs.house.renderer import Renderer

ROOMS = {1: 4, 2: 7, 4: 14}  # number of rooms, and of things
SIDE = 192
FRAMES = 4
GOAL = "put the duckie next to the blue barrel"


def row(num_rooms: int, num_things: int) -> np.ndarray:
    """Return a house from above and four frames of the expert's way to the goal."""
    large = Renderer(SIDE)
    env = House(num_rooms=num_rooms, num_things=num_things, end_on_success=False)
    env.reset(seed=num_rooms, options={"goal": GOAL})
    pictures, steps = [large.draw_top(env.scene)], int(env.steps_to_go())
    for step in range(steps):
        env.step(env.expert_action())
        if (step + 1) in np.linspace(0, steps, FRAMES + 1).astype(int):
            pictures.append(large.draw(env.scene))
    return np.hstack(pictures)


def main() -> None:
    """Write the picture to the path of the command line."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.vstack([row(*numbers) for numbers in ROOMS.items()])
    few = Image.fromarray(rows).quantize(256, method=Image.Quantize.MAXCOVERAGE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
