"""The painted world whose observation is the frame, for policies that see frames."""

import gymnasium as gym
import numpy as np
from painted import BANK, PaintedEnv


class Filmed(PaintedEnv):
    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)

    def _show(self):
        _, info = super()._show()
        return BANK[self.frame], {**info, "place": self.frame}


class FilmedBox(Filmed):
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
