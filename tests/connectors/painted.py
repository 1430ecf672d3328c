"""A world whose every observation says which frame was on show, so that rewards can be recounted.

Frames come from a fixed bank, drawn anew each step; the observation is (env, episode, t, frame,
goal). The env's own reward is far from any CLIP score, so a single leak shows.
"""

import gymnasium as gym
import numpy as np

GOALS = ("a red wall", "a blue wall", "a green wall")
BANK_SIZE = 512
ENV_REWARD = -100.0


def frame_bank():
    """Return all frames, uint8 [512, 16, 16, 3]: one random colour each.

    A CLIP with random weights tells colours apart better than patterns.
    """
    colours = np.random.default_rng(0).integers(0, 256, (BANK_SIZE, 1, 1, 3), np.uint8)
    return colours.repeat(16, axis=1).repeat(16, axis=2)


BANK = frame_bank()


class PaintedEnv(gym.Env):
    """Episodes of 3 to 30 steps, half terminated, half truncated."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config):
        self.config = dict(config)
        self.render_mode = self.config.get("render_mode", "rgb_array")
        self.rng = np.random.default_rng()
        self.id = int(self.rng.integers(2**24))  # what float32 holds
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        self.t = 0
        # 3 to 30, odd and even in turn, so that neither end is left to chance.
        self.length = 2 * int(self.rng.integers(2, 16)) - self.episode % 2
        self.goal = (self.id + self.episode) % len(GOALS)  # each in turn
        if options and "goal" in options:
            self.goal = GOALS.index(options["goal"])
        return self._show()

    def step(self, action):
        self.t += 1
        observation, info = self._show()
        over = self.t == self.length
        even = self.length % 2 == 0
        info["success"] = over and even
        return observation, ENV_REWARD, over and even, over and not even, info

    def render(self):
        return BANK[self.frame]

    def _show(self):
        self.frame = int(self.rng.integers(BANK_SIZE))
        observation = np.array([self.id, self.episode, self.t, self.frame, self.goal], np.float32)
        info = {"goal": GOALS[self.goal]}
        if "info_key" in self.config:
            info[self.config["info_key"]] = BANK[self.frame]
        return observation, info
