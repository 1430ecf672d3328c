"""A painted world whose goals may be any colour and thing, but for one that it cannot pose."""

import numpy as np
import painted

POSSIBLE = tuple(
    f"a {color} {thing}" for color in ("red", "blue", "green") for thing in ("wall", "door")
)
IMPOSSIBLE = "a green door"
GOALS = ("a red wall", "a blue door", "a green wall")
ADDABLE = tuple(text for text in POSSIBLE if text not in (*GOALS, IMPOSSIBLE))


class GrowingEnv(painted.PaintedEnv):
    """Poses all goals but the impossible one; its observation names the goal by POSSIBLE."""

    def reset(self, *, seed=None, options=None):
        text = (options or {}).get("goal", GOALS[0])
        if text == IMPOSSIBLE:
            raise ValueError("there is no such thing")
        super().reset()
        self.goal = POSSIBLE.index(text)
        return self._show()

    def _show(self):
        self.frame = int(self.rng.integers(painted.BANK_SIZE))
        observation = [self.id, self.episode, self.t, self.frame, self.goal]
        return np.array(observation, np.float32), {"goal": POSSIBLE[self.goal]}


class DeafEnv(GrowingEnv):
    """Plays the goals of the beginning, whatever goal is asked for."""

    def reset(self, *, seed=None, options=None):
        asked = (options or {}).get("goal", GOALS[0])
        return super().reset(options={"goal": asked if asked in GOALS else GOALS[0]})


class WilfulEnv(GrowingEnv):
    """Chooses its own goal."""

    def reset(self, *, seed=None, options=None):
        return super().reset()
