import numpy as np
import pytest
from painted import GOALS

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.episode_goal import episode_goal, find_goal, ignored_goal
from rllib_vlm_reward.connectors.known_goals import KnownGoals
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import GoalSet


@pytest.mark.parametrize("goal", range(3))
def test_the_goal_is_found_where_the_env_names_it(goal):
    goals = GoalSet.from_texts(GOALS)
    assert find_goal("info:goal", goals, None, {"goal": GOALS[goal]}) == goal
    assert find_goal("obs:mission", goals, {"mission": np.str_(GOALS[goal])}, {}) == goal


def test_a_single_goal_is_not_looked_up():
    assert find_goal("info:goal", GoalSet.from_texts(["a red wall"]), None, {}) == 0


def test_a_goal_that_is_missing_or_unknown_is_an_error():
    goals = GoalSet.from_texts(GOALS)
    with pytest.raises(GoalError, match="goal_source 'info:goal'"):
        find_goal("info:goal", goals, None, {"mission": "a red wall"})
    with pytest.raises(GoalError, match="The closest is 'a red wall'"):
        find_goal("info:goal", goals, None, {"goal": "a red wal"})


def test_an_env_of_one_goal_need_not_name_it_but_no_other():
    config = VLMRewardConfig(
        encoder="small", goals=["a ball"], negatives=["none"], evaluation_goals=["a key"]
    )
    assert episode_goal(KnownGoals(config), None, {}, evaluation=False) == 0
    assert episode_goal(KnownGoals(config), None, {"goal": "a ball"}, evaluation=False) == 0
    with pytest.raises(GoalError, match="one of evaluation_goals"):
        episode_goal(KnownGoals(config), None, {"goal": "a key"}, evaluation=False)
    assert episode_goal(KnownGoals(config), None, {"goal": "a key"}, evaluation=True) == 1


def test_a_warning_shows_the_goal_that_a_single_one_hides():
    config = VLMRewardConfig(encoder="small", goals=["a ball"], negatives=["none"])
    warning = ignored_goal(config, None, {"goal": "a key"})
    assert "'a key'" in warning
    assert "single goal 'a ball'" in warning
    for info in ({}, {"goal": "a ball"}):
        assert ignored_goal(config, None, info) is None
    read = config.model_copy(update={"goal_source": "obs:mission"})
    assert "'a box'" in ignored_goal(read, {"mission": "a box"}, {"goal": "a ball"})
    several = VLMRewardConfig(encoder="small", goals=["a ball", "a box"])
    assert ignored_goal(several, None, {"goal": "a key"}) is None
