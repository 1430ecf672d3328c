import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import configs, episodes, goal_sets, goals_of, runs

from rllib_vlm_reward.curriculum import CurriculumConfig, make_curriculum

KIND = "success_window"


@given(st.data(), goal_sets(), configs(kinds=(KIND,), signal="ground_truth_success"))
def test_weights_are_those_of_a_recount(data, goals, config):
    outcomes = data.draw(runs(goals))
    curriculum = make_curriculum(goals, config)
    curriculum.observe(outcomes)
    count = len(goals)
    inside = np.zeros(count)
    for goal in range(count):
        own = [it.ground_truth_success for it in outcomes if it.goal == goal][-config.window :]
        inside[goal] = not own or config.low <= sum(own) / len(own) <= config.high
    inside = inside if inside.any() else np.ones(count)
    expected = (1 - config.explore) * inside / inside.sum() + config.explore / count
    np.testing.assert_allclose(curriculum.weights(), expected, atol=1e-12)


def test_the_bounds_belong_to_the_window():
    config = CurriculumConfig(kind=KIND, explore=0, low=0.25, high=0.75)
    curriculum = make_curriculum(goals_of(*"abcd"), config)
    curriculum.observe(episodes(0, 0, 0, 0, 0) + episodes(1, 0, 0, 0, 1))
    curriculum.observe(episodes(2, 0, 1, 1, 1) + episodes(3, 1, 1, 1, 1))
    assert curriculum.weights() == [0, 0.5, 0.5, 0]


def test_an_untried_goal_is_tried_and_if_none_is_apt_all_are_alike():
    curriculum = make_curriculum(goals_of("a", "b"), CurriculumConfig(kind=KIND, explore=0))
    curriculum.observe(episodes(0, 1))
    assert curriculum.weights() == [0, 1]
    curriculum.observe(episodes(1, 0))
    assert curriculum.weights() == [0.5, 0.5]


def test_a_goal_that_is_forgotten_comes_back():
    config = CurriculumConfig(kind=KIND, explore=0.1, window=4)
    curriculum = make_curriculum(goals_of("a", "b"), config)
    curriculum.observe(episodes(0, 1, 1, 1, 1) + episodes(1, 0, 1))
    assert curriculum.weights() == pytest.approx([0.05, 0.95])
    curriculum.observe(episodes(0, 0))
    assert curriculum.weights() == pytest.approx([0.5, 0.5])
