"""Draws android/phone.png: the expert's way to two goals, and the screens of all apps.

python docs/android_picture.py docs/android/phone.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rllib_vlm_reward.envs.android.apps import ALL
from rllib_vlm_reward.envs.android.env import Android
from rllib_vlm_reward.envs.android.screens import draw_app

GOALS = {"open the clock app": 3, "open the weather app": 18}  # and the seed of the phone
COLUMNS = 20


def way(goal: str, seed: int) -> list[np.ndarray]:
    """Return the frames of the expert's way from another app to the goal, at twice the size."""
    env = Android("all", scale=2)
    env.reset(seed=seed, options={"goal": goal})
    env.phone.app = ALL["music"]
    frames = [env.step(env.actions.swipe("left"))[0]]
    while env.steps_to_go():
        frames.append(env.step(env.expert_action())[0])
    env.close()
    return frames


def main() -> None:
    """Write the picture to the path of the command line."""
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    ways = np.hstack([frame for goal, seed in GOALS.items() for frame in way(goal, seed)])
    apps = [draw_app(app, dark=index % 2 == 1) for index, app in enumerate(ALL.values())]
    rows = [np.hstack(apps[at : at + COLUMNS]) for at in range(0, len(apps), COLUMNS)]
    Image.fromarray(np.vstack([ways, *rows])).quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
