"""The painted world as a policy for frames sees it: a frame whose bytes say what it is of."""

import gymnasium as gym
import numpy as np
from painted import PaintedEnv


class SeenEnv(PaintedEnv):
    """Observes (env, episode, t, frame, goal), written into the bytes of a uint8 frame."""

    observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)

    def _show(self):
        observation, info = super()._show()
        frame = np.zeros((16, 16, 3), np.uint8)
        numbers = observation.astype(np.int32).view(np.uint8)
        frame.reshape(-1)[: len(numbers)] = numbers
        return frame, info


class SeenBox(SeenEnv):
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


def columns(frames):
    """Return what frames are of, int64 [5, T]: (env, episode, t, frame, goal)."""
    numbers = np.stack([frame.reshape(-1)[:20] for frame in frames]).view(np.int32)
    return numbers.astype(np.int64).T
