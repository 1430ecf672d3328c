"""Play: seeded, varied, and apart from what is held out."""

import numpy as np
import pytest

from rllib_vlm_reward.envs.babyai.level import Level
from rllib_vlm_reward.pretraining.dataset import play
from rllib_vlm_reward.pretraining.statements import truth


def test_a_seed_gives_one_play():
    np.testing.assert_array_equal(play(100, seed=3), play(100, seed=3))
    assert (play(100, seed=3) != play(100, seed=4)).any()


def test_held_out_layouts_are_never_trained_on(monkeypatch):
    seeds = {True: set(), False: set()}
    reset = Level.reset

    def watched(level, *, seed=None, **kwargs):
        seeds[held_out].add(seed)
        return reset(level, seed=seed, **kwargs)

    monkeypatch.setattr(Level, "reset", watched)
    for held_out in (True, False):
        for seed in (0, 1):
            play(300, seed=seed, held_out=held_out)
    assert len(seeds[True]) > 20
    assert len(seeds[False]) > 20
    assert {seed % 2 for seed in seeds[True]} == {1}
    assert {seed % 2 for seed in seeds[False]} == {0}


@pytest.fixture(scope="module")
def shares():
    return {family: held.mean(axis=0) for family, held in truth(play(5000, seed=1)).items()}


@pytest.mark.parametrize(("family", "least"), [("find", 0.1), ("lift", 0.1), ("place", 0.3)])
def test_play_is_not_all_nothing(shares, family, least):
    assert 1 - shares[family][0] > least


@pytest.mark.parametrize("family", ["find", "lift"])
def test_play_meets_every_object(shares, family):
    assert (shares[family][1:] > 0.001).all()
