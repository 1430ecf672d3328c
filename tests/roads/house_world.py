"""The house, whose observation also says which env, episode, step and goal a frame belongs to."""

import gymnasium as gym
import numpy as np

from rllib_vlm_reward.envs.house.env import make_house_room

SIZE = 32
GOALS = ("go near the duckie", "go near the cone", "pick up the red ball")


class HouseWorld(gym.Env):
    """Observations are (frame, env, episode, t, 0, goal), in which the frame is one of 0 to 255."""

    def __init__(self, config):
        self.house = make_house_room(families=("find", "lift"), frame_size=SIZE, max_steps=9)
        self.action_space = self.house.action_space
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (SIZE * SIZE * 3 + 5,), np.float32)
        self.id = int(np.random.default_rng().integers(2**24))  # what float32 holds
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode, self.t = self.episode + 1, 0
        self.goal = (self.id + self.episode) % len(GOALS)
        if options and "goal" in options:
            self.goal = GOALS.index(options["goal"])
        return self._show(*self.house.reset(seed=seed, options={"goal": GOALS[self.goal]}))

    def step(self, action):
        self.t += 1
        frame, _, terminated, truncated, info = self.house.step(action)
        observation, info = self._show(frame, info)
        return observation, 0.0, terminated, truncated, info

    def close(self):
        self.house.close()

    def _show(self, frame, info):
        where = (self.id, self.episode, self.t, 0, self.goal)
        return np.array([*frame.ravel(), *where], np.float32), {**info, "rgb": frame}
