"""Small envs in which something goes wrong, as public bug reports and first tries show it.

All observe a 64 x 64 RGB frame with a white square. Action 1 moves it right, and 0 left; success is
the right edge.
"""

import gymnasium as gym
import numpy as np


class Painted(gym.Env):
    """Works; the others differ from it by one fault."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)
    made = 0

    def __init__(self, config=None, render_mode="rgb_array"):
        self.render_mode = render_mode
        type(self).made += 1
        self.number, self.episode, self.t, self.x = type(self).made, 0, 0, 28

    def frame(self):
        frame = np.full((64, 64, 3), 40, np.uint8)
        frame[28:36, self.x : self.x + 8] = 255
        return frame

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t, self.x = self.episode + 1, 0, int(self.np_random.integers(8, 40))
        return self.frame(), {"success": False}

    def step(self, action):
        self.t += 1
        self.x = int(np.clip(self.x + (4 if action else -4), 0, 56))
        done = self.x == 56
        return self.frame(), float(done), done, self.t >= 30, {"success": done}

    def render(self):
        return self.frame()


class BlackLater(Painted):
    """Frames are black from the ninth episode on."""

    def frame(self):
        return super().frame() if self.episode < 9 else np.zeros((64, 64, 3), np.uint8)


class EverySecondBlack(Painted):
    """Only the first env of a process renders; the second's frames are black."""

    def frame(self):
        return super().frame() if self.number % 2 else np.zeros((64, 64, 3), np.uint8)


class Frozen(Painted):
    """The frame of the first reset is shown for ever, through all episodes."""

    def frame(self):
        if not hasattr(self, "kept"):
            self.kept = super().frame()
        return self.kept


class RaisesAtStepSeven(Painted):
    """The user's own mistake, in a remote env runner too: its traceback must be seen."""

    def step(self, action):
        if self.t == 6:
            raise KeyError("the user's own mistake")
        return super().step(action)


class RenderGivesNone(Painted):
    """render() gives None at the third step."""

    def render(self):
        return None if self.t == 3 else super().render()


class RenderGivesList(Painted):
    """render() gives a list of frames, as under rgb_array_list."""

    def render(self):
        return [self.frame()]


class SizeChanges(Painted):
    """The rendered frame has another size from the fifth step on."""

    def render(self):
        return self.frame() if self.t < 5 else self.frame()[:40]


class NaNReward(Painted):
    """The env's own reward is NaN once: an error where env_reward_weight lets it in."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, float("nan") if self.t == 4 else reward, *rest


class SuccessIsText(Painted):
    """info["success"] is the text "False": no success, and to be refused."""

    def step(self, action):
        *result, info = super().step(action)
        return *result, {"success": str(info["success"])}


class Mute(Painted):
    """Has no ground truth: a reward that never fires must be noticed all the same."""

    def step(self, action):
        *result, _ = super().step(action)
        return *result, {}
