import gymnasium as gym
import numpy as np
import pytest
from painted import BANK, GOALS, PaintedEnv

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.connectors.collector import (
    collect_frames,
    episode_goal,
    find_goal,
    ignored_goal,
)
from rllib_vlm_reward.errors import FrameError, GoalError
from rllib_vlm_reward.goals import GoalSet


def vector_env(vectorise=gym.vector.SyncVectorEnv, **config):
    return vectorise([lambda: PaintedEnv(config)] * 3)


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_rendered_frames_are_those_of_the_observations_terminal_ones_too(vectorise):
    env = vector_env(vectorise)
    try:
        env.reset()
        ends = 0
        for _ in range(40):
            observations, _, terminated, truncated, _ = env.step(np.zeros(3, int))
            rows = [0, 2]
            frames = collect_frames("render", env, rows, [None] * 2, [{}] * 2)
            assert np.array_equal(frames, BANK[observations[rows, 3].astype(int)])
            ends += (terminated | truncated)[rows].sum()
        assert ends > 0
    finally:
        env.close()


@pytest.mark.parametrize("source", ["obs", "obs:rgb", "info:rgb"])
def test_frames_come_from_observations_or_infos(source):
    plain, keyed = list(BANK[:2]), [{"rgb": frame} for frame in BANK[:2]]
    observations = plain if source == "obs" else keyed
    frames = collect_frames(source, None, [0, 1], observations, keyed)
    assert np.array_equal(frames, BANK[:2])


@pytest.mark.parametrize(
    ("source", "observation", "info", "says"),
    [
        ("info:rgb", None, {"other": 1}, "the keys \\['other'\\]"),
        ("obs:rgb", np.zeros(3), {}, "ndarray"),
        ("obs", np.zeros((4, 4, 3), np.float32), {}, "float32 \\[1, 4, 4, 3\\]"),
        ("obs", np.zeros((4, 4), np.uint8), {}, "grey frames"),
    ],
)
def test_a_source_without_frames_says_what_it_gave(source, observation, info, says):
    with pytest.raises(FrameError, match=says):
        collect_frames(source, None, [0], [observation], [info])


def test_an_env_that_does_not_render_is_told_how_to():
    env = vector_env(render_mode=None)
    env.reset()
    with pytest.raises(FrameError, match=r"set frames\.source to obs.*env_config=\{\"render_mode"):
        collect_frames("render", env, [0], [None], [{}])


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
    assert episode_goal(config, None, {}, evaluation=False) == 0
    assert episode_goal(config, None, {"goal": "a ball"}, evaluation=False) == 0
    with pytest.raises(GoalError, match="one of evaluation_goals"):
        episode_goal(config, None, {"goal": "a key"}, evaluation=False)
    assert episode_goal(config, None, {"goal": "a key"}, evaluation=True) == 1


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
