"""The painted world with continuous actions, and as a vector env of the user's own."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from painted import PaintedEnv


class PaintedBox(PaintedEnv):
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


class PaintedVector(gym.vector.VectorEnv):
    """Steps its own envs, with gymnasium's NEXT_STEP autoreset, and renders all of them."""

    metadata = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(self, num_envs, render_mode=None, painted=PaintedEnv):
        self.num_envs, self.render_mode = num_envs, render_mode
        self.envs = [painted({"render_mode": render_mode}) for _ in range(num_envs)]
        self.single_observation_space = painted.observation_space
        self.single_action_space = painted.action_space
        self.observation_space = batch_space(painted.observation_space, num_envs)
        self.action_space = batch_space(painted.action_space, num_envs)

    def reset(self, *, seed=None, options=None):
        self.over = np.zeros(self.num_envs, bool)
        observations, infos = zip(*(env.reset() for env in self.envs), strict=True)
        return np.stack(observations), self._batch(infos)

    def step(self, actions):
        steps = [self._step(*row) for row in zip(self.envs, actions, self.over, strict=True)]
        observations, rewards, terminated, truncated, infos = zip(*steps, strict=True)
        self.over = np.logical_or(terminated, truncated)
        return (
            np.stack(observations),
            np.array(rewards),
            np.array(terminated),
            np.array(truncated),
            self._batch(infos),
        )

    def render(self):
        return tuple(env.render() for env in self.envs)

    def _step(self, env, action, over):
        if over:
            observation, info = env.reset()
            return observation, 0.0, False, False, info
        return env.step(action)

    def _batch(self, infos):
        batch = {}
        for row, info in enumerate(infos):
            batch = self._add_info(batch, info, row)
        return batch


for name, painted in {"Painted": PaintedEnv, "PaintedBox": PaintedBox}.items():
    # A gymnasium id, "painted_worlds:Painted-v0", brings its module into every process.
    gym.register(
        f"{name}-v0",
        entry_point=lambda painted=painted, **config: painted(config),
        vector_entry_point=lambda num_envs, painted=painted, **config: PaintedVector(
            num_envs, painted=painted, **config
        ),
    )
