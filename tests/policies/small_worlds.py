"""Worlds of a few steps that pay by themselves, and a module that compares its two passes."""

import gymnasium as gym
import numpy as np
import torch

from rllib_vlm_reward.policies import GoalConditionedModule

SEEN = gym.spaces.Dict(
    observation=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
    goal=gym.spaces.Box(-1, 1, (2,), np.float32),
)


class Compared(GoalConditionedModule):
    """Keeps how far each pass of a learner is from what the env runners computed step by step.

    It keeps the learner's batches too. Both are of this process.
    """

    differences = []  # noqa: RUF012
    batches = []  # noqa: RUF012

    def _forward_train(self, batch, **kwargs):
        out = super()._forward_train(batch, **kwargs)
        mask = batch["loss_mask"].bool() if "loss_mask" in batch else slice(None)
        apart = (out["action_dist_inputs"] - batch["action_dist_inputs"])[mask]
        self.differences.append(float(apart.detach().abs().max()))
        self.batches.append({**batch, "mask": mask})
        return out


class Cue(gym.Env):
    """The first of four frames is black or white, the others are grey: name it at the end."""

    observation_space = SEEN
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.cue = 0, int(self.np_random.integers(2))
        return self._show(255 * self.cue), {}

    def step(self, action):
        self.t += 1
        last = self.t == 4
        return self._show(128), float(last and action == self.cue), last, False, {}

    def _show(self, shade):
        return {
            "observation": np.full((8, 8, 3), shade, np.uint8),
            "goal": np.array([1.0, 0.0], np.float32),
        }


class Reach(gym.Env):
    """One step: the closer the action comes to the goal, of which it sees the place, the better."""

    observation_space = SEEN
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.7, 0.7, 2).astype(np.float32)
        return self._show(), {}

    def step(self, action):
        return self._show(), -float(np.abs(action - self.place).mean()), True, False, {}

    def _show(self):
        return {"observation": np.full((8, 8, 3), 128, np.uint8), "goal": self.place}


class Named(gym.Env):
    """One step on a grey frame: name the goal, of which it sees a vector that says no number."""

    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0].astype(np.float32)
    observation_space = gym.spaces.Dict(
        observation=SEEN["observation"], goal=gym.spaces.Box(-1, 1, (8,), np.float32)
    )
    action_space = gym.spaces.Discrete(8)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.goal = int(self.np_random.integers(8))
        return self._show(), {}

    def step(self, action):
        return self._show(), float(action == self.goal), True, False, {}

    def _show(self):
        grey = np.full((8, 8, 3), 128, np.uint8)
        return {"observation": grey, "goal": self.vectors[self.goal]}


class Tap(gym.Env):
    """One step: of two squares on grey, a white and a black one, tap the one that the goal names.

    The first 16 actions are taps on the squares of a grid of 4 × 4, the last does nothing.
    """

    observation_space = SEEN
    action_space = gym.spaces.Discrete(17)

    def __init__(self, config=None):
        pass

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        places = self.np_random.choice(16, 2, replace=False)
        goal = int(self.np_random.integers(2))
        frame = np.full((4, 2, 4, 2, 3), 128, np.uint8)
        for place, shade in zip(places, (255, 0), strict=True):
            frame[place // 4, :, place % 4] = shade
        self.place = places[goal]
        self.seen = {
            "observation": frame.reshape(8, 8, 3),
            "goal": np.eye(2, dtype=np.float32)[goal],
        }
        return self.seen, {}

    def step(self, action):
        return self.seen, float(action == self.place), True, False, {}


def row_of(frames, bank):
    """Return the place in a bank of one-colour frames, int [N], of frames uint8 [N, H, W, 3]."""
    colours = torch.as_tensor(bank[:, 0, 0].copy()).long()
    equal = (frames[:, None, 0, 0].long() == colours).all(-1)
    assert (equal.sum(1) == 1).all()
    return equal.long().argmax(1).numpy()
