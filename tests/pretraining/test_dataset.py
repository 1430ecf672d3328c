"""The training set: distinct views, their truth, and balanced draws."""

import numpy as np
import pytest

from rllib_vlm_reward.pretraining.dataset import Dataset, play
from rllib_vlm_reward.pretraining.statements import truth


@pytest.fixture(scope="module")
def data():
    return Dataset.from_play(4000, seed=1)


def test_each_view_of_the_play_is_there_once(data):
    played = {view.tobytes() for view in play(4000, seed=1)}
    kept = [view.tobytes() for view in data.views]
    assert len(kept) == len(set(kept))
    assert set(kept) == played


def test_the_share_of_views_that_were_seen(data):
    strange = data.views[:5].copy()
    strange[:, 0, 0] = (6, 0, 1)  # a ball in a state that no ball has
    assert data.share_of(data.views) == 1
    assert data.share_of(np.concatenate([strange, data.views[:15]])) == 0.75


def test_draws_carry_their_own_truth(data):
    views, holds = data.sample(64, np.random.default_rng(0))
    for family, held in truth(views).items():
        np.testing.assert_array_equal(holds[family], held)


def test_draws_are_seeded(data):
    first, again, other = (data.sample(64, np.random.default_rng(s))[0] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_rare_statements_are_drawn_more_often_than_met(data):
    assert data.weights.sum() == pytest.approx(1)
    for held in data.holds.values():
        nothing = held[:, 0]
        assert data.weights[nothing].sum() < nothing.mean()
