"""Scenes, and what plays the house."""

import numpy as np
import pytest

from rllib_vlm_reward.envs.house.env import House
from rllib_vlm_reward.envs.house.floor_plan import FloorPlan, Room
from rllib_vlm_reward.envs.house.scene import Pose, Scene
from rllib_vlm_reward.envs.house.things import KINDS

HALL = FloorPlan((Room(0.0, 8.0, 0.0, 8.0, "stucco", "grass"),), ())


@pytest.fixture(scope="session")
def long_form(request):
    """Whether a test takes the time to try thousands."""
    return request.config.getoption("--full-matrix")


@pytest.fixture(scope="session")
def hall():
    """Returns a function: a room of 8 by 8 metres, things by name and place, the agent amid it."""

    def furnish(agent=(4.0, 4.0, 0.0), carried=None, **things):
        names = [name.replace("_", " ") for name in things]
        kinds = tuple(KINDS[name] for name in names)
        places = [(4.0 + x, 4.0 + z) for x, z in things.values()]
        return Scene(HALL, kinds, places, [0.0] * len(kinds), Pose(*agent), carried)

    return furnish


@pytest.fixture(scope="session")
def played():
    """Returns a function: the env after each of so many steps, by the expert and by chance."""

    def play(steps, *, seed=0, random=0.5, **kwargs):
        env = House(end_on_success=False, **kwargs)
        rng = np.random.default_rng(seed)
        try:
            for step in range(steps):
                if step % 50 == 0:
                    env.reset(seed=seed + step)
                action = rng.choice(5, p=(0.2, 0.2, 0.4, 0.15, 0.05)) % env.action_space.n
                env.step(action if rng.random() < random else env.expert_action())
                yield env
        finally:
            env.close()

    return play
