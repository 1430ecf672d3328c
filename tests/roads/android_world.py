"""The phone, whose observation also says which env, episode, step and goal a frame belongs to."""

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.envs.android.env import Android

APPS = ("clock", "maps", "music")
GOALS = tuple(f"open the {app} app" for app in APPS)
SHAPE = (160, 90, 3)


class AndroidWorld(gym.Env):
    """Observations are (frame, env, episode, t, 0, goal), in which the frame is one of 0 to 255."""

    def __init__(self, config):
        # Few taps, so that play by chance opens apps.
        self.phone = Android(APPS, num_pages=1, taps=(4, 4), max_steps=9)
        self.action_space = self.phone.action_space
        self.observation_space = gym.spaces.Box(0, 2**24, (np.prod(SHAPE) + 5,), np.float32)
        self.id = int(np.random.default_rng().integers(2**24))  # what float32 holds
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode, self.t = self.episode + 1, 0
        self.goal = (self.id + self.episode) % len(GOALS)
        if options and "goal" in options:
            self.goal = GOALS.index(options["goal"])
        return self._show(*self.phone.reset(seed=seed, options={"goal": GOALS[self.goal]}))

    def step(self, action):
        self.t += 1
        frame, _, terminated, truncated, info = self.phone.step(action)
        observation, info = self._show(frame, info)
        return observation, 0.0, terminated, truncated, info

    def close(self):
        self.phone.close()

    def _show(self, frame, info):
        where = np.array((self.id, self.episode, self.t, 0, self.goal), np.float32)
        return np.concatenate([frame.ravel(), where], dtype=np.float32), {**info, "rgb": frame}
