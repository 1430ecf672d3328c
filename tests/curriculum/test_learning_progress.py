import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import configs, episodes, goal_sets, goals_of, runs

from rllib_vlm_reward.curriculum import CurriculumConfig, make_curriculum

KIND = "learning_progress"


def recount(outcomes, count, config):
    """The weights, from the definition and all outcomes."""
    progress = np.full(count, np.nan)
    for goal in range(count):
        own = np.array([it.vlm_success for it in outcomes if it.goal == goal], float)
        own = own[-config.window :]
        if len(own) >= 4:
            older, newer = np.split(own, [len(own) // 2])
            progress[goal] = abs(newer.mean() - older.mean())
    known = progress[~np.isnan(progress)]
    progress[np.isnan(progress)] = known.max() if len(known) else 1.0
    if not progress.any():
        return np.full(count, 1 / count)
    return (1 - config.explore) * progress / progress.sum() + config.explore / count


@given(st.data(), goal_sets(), configs(kinds=(KIND,), signal="vlm_success"))
def test_weights_are_those_of_a_recount(data, goals, config):
    outcomes = data.draw(runs(goals, max_size=80))
    curriculum = make_curriculum(goals, config)
    curriculum.observe(outcomes)
    expected = recount(outcomes, len(goals), config)
    np.testing.assert_allclose(curriculum.weights(), expected, atol=1e-12)


def made(*histories, explore=0.0):
    goals = goals_of(*"abcdef"[: len(histories)])
    curriculum = make_curriculum(goals, CurriculumConfig(kind=KIND, explore=explore))
    for goal, history in enumerate(histories):
        curriculum.observe(episodes(goal, *history))
    return curriculum.weights()


def test_what_is_learnt_or_forgotten_is_drawn_and_what_is_mastered_or_too_hard_is_not():
    learnt, forgotten = (0, 0, 1, 1), (1, 1, 0, 0)
    mastered, too_hard = (1, 1, 1, 1), (0, 0, 0, 0)
    assert made(learnt, forgotten, mastered, too_hard) == [0.5, 0.5, 0, 0]


def test_the_odd_episode_is_of_the_newer_half():
    slow = (0, 0, 0, 1, 1)  # 2/3 of the newer half, nothing of the older
    fast = (0, 0, 1, 1)
    assert made(slow, fast) == pytest.approx([0.4, 0.6])


def test_a_goal_hardly_tried_is_hoped_to_be_as_good_as_the_best():
    assert made((0, 1, 0, 1, 1, 1), (0, 0, 1, 1), (1, 1, 1)) == pytest.approx(
        np.array([2 / 3, 1, 1]) / (8 / 3)
    )


def test_without_progress_all_goals_are_alike():
    assert made((1,), (), (0, 0, 0)) == pytest.approx([1 / 3] * 3)
    assert made((1, 1, 1, 1), (0, 0, 0, 0), explore=0.5) == [0.5, 0.5]
