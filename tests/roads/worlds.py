"""The house and the phone; the observation also says which env, episode, step and goal it is of."""

import gymnasium as gym
import numpy as np


class World(gym.Env):
    """Observations are (frame, env, episode, t, 0, goal), in which the frame is one of 0 to 255.

    A class of this kind makes its env in ``make``.

    Attributes:
        GOALS: the goals, posed in turn.
        SHAPE: shape of a frame.
    """

    GOALS: tuple[str, ...]
    SHAPE: tuple[int, int, int]

    def __init__(self, config):
        self.env = self.make()
        self.action_space = self.env.action_space
        size = int(np.prod(self.SHAPE)) + 5
        self.observation_space = gym.spaces.Box(0, 2**24, (size,), np.float32)
        self.id = int(np.random.default_rng().integers(2**24))  # what float32 holds
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode, self.t = self.episode + 1, 0
        self.goal = (self.id + self.episode) % len(self.GOALS)
        if options and "goal" in options:
            self.goal = self.GOALS.index(options["goal"])
        return self._show(*self.env.reset(seed=seed, options={"goal": self.GOALS[self.goal]}))

    def step(self, action):
        self.t += 1
        frame, _, terminated, truncated, info = self.env.step(action)
        observation, info = self._show(frame, info)
        return observation, 0.0, terminated, truncated, info

    def close(self):
        self.env.close()

    def _show(self, frame, info):
        where = np.array((self.id, self.episode, self.t, 0, self.goal), np.float32)
        return np.concatenate([frame.ravel(), where], dtype=np.float32), {**info, "rgb": frame}


class HouseWorld(World):
    GOALS = ("go near the duckie", "go near the cone", "pick up the red ball")
    SHAPE = (32, 32, 3)

    def make(self):
        from rllib_vlm_reward.envs.house.env import make_house_room  # needs the extra

        # Short episodes, for a step against a wall changes nothing.
        return make_house_room(families=("find", "lift"), frame_size=self.SHAPE[0], max_steps=3)


class PhoneWorld(World):
    GOALS = ("open the clock app", "open the maps app", "open the music app")
    SHAPE = (160, 90, 3)

    def make(self):
        from rllib_vlm_reward.envs.android.env import Android  # needs the extra

        # Few taps, a page for each app and short episodes, or most steps would change nothing.
        return Android(("clock", "maps", "music"), num_pages=3, taps=(2, 2), max_steps=3)
