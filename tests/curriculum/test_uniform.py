from hypothesis import given
from hypothesis import strategies as st
from outcomes import configs, goal_sets, runs

from rllib_vlm_reward.curriculum import make_curriculum


@given(st.data(), goal_sets(), configs(kinds=("uniform",)))
def test_nothing_that_happens_matters(data, goals, config):
    curriculum = make_curriculum(goals, config)
    curriculum.observe(data.draw(runs(goals)))
    assert curriculum.weights() == [1 / len(goals)] * len(goals)
