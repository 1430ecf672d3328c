"""Frames of BabyAI's rooms, which the tests of this folder share."""

import pytest

from rllib_vlm_reward.pretraining.recorded_play import play
from rllib_vlm_reward.pretraining.world import World

ROOMS = "rllib_vlm_reward/Rooms-v0"


@pytest.fixture(scope="session")
def rooms():
    """BabyAI's rooms of all sizes."""
    world = World(ROOMS)
    yield world
    world.close()


@pytest.fixture(scope="session")
def data(rooms, tmp_path_factory):
    """4,000 frames of play."""
    return play(rooms, 4000, tmp_path_factory.mktemp("play"), seed=1)


@pytest.fixture(scope="session")
def few(rooms, tmp_path_factory):
    """210 frames of 10 held-out episodes."""
    return play(rooms, 210, tmp_path_factory.mktemp("few"), seed=5, held_out=True)
