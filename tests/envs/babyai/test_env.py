"""The wrapper: what an agent sees, is told, and when an episode ends."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.core.actions import Actions
from minigrid.utils.baby_ai_bot import BabyAIBot

from rllib_vlm_reward.envs.babyai.env import (
    make_babyai,
    make_find,
    make_lift,
    make_place,
    make_playroom,
)
from rllib_vlm_reward.envs.babyai.ground_truth import accomplished
from rllib_vlm_reward.envs.babyai.tiles import draw_tiles
from rllib_vlm_reward.errors import GoalError

MAKERS = pytest.mark.parametrize("make", [make_find, make_lift, make_place, make_playroom])


def solve(env, seed):
    """Let the bot play; yield each step's result."""
    env.reset(seed=seed)
    bot = BabyAIBot(env.unwrapped)
    while True:
        result = env.step(bot.replan())
        yield result
        if result[2] or result[3] or result[4]["success"]:
            return


@MAKERS
@pytest.mark.filterwarnings("ignore:.*")
def test_gymnasium_finds_no_fault(make):
    check_env(make(), skip_render_check=True)


@MAKERS
def test_each_step_tells_goal_and_truth_and_shows_the_view(make):
    env = make(tile_size=8)
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=5)
    mission = env.unwrapped.mission
    for _ in range(60):
        assert info["goal"] == mission
        assert info["success"] is accomplished(env.unwrapped)
        assert env.observation_space.contains(observation)
        np.testing.assert_array_equal(observation, draw_tiles(env.unwrapped.gen_obs()["image"]))
        np.testing.assert_array_equal(observation, env.render())
        observation, _, terminated, truncated, info = env.step(rng.integers(env.action_space.n))
        if terminated or truncated:
            observation, info = env.reset()
            mission = env.unwrapped.mission


def test_actions_are_those_that_the_mission_needs():
    for make, last in ((make_find, "forward"), (make_lift, "pickup"), (make_place, "drop")):
        assert make().action_space.n == Actions[last] + 1


@pytest.mark.parametrize("families", [("find",), ("lift", "find"), ("find", "lift", "place")])
def test_a_playroom_has_every_action(families):
    assert make_playroom(families=families).action_space.n == Actions.drop + 1


@pytest.mark.parametrize("tile_size", [4, 12])
def test_tile_size_sets_the_frame(tile_size):
    env = make_lift(tile_size=tile_size)
    observation, _ = env.reset(seed=0)
    assert observation.shape == env.observation_space.shape == (7 * tile_size, 7 * tile_size, 3)


@MAKERS
@pytest.mark.parametrize("end_on_success", [True, False])
def test_success_ends_the_episode_only_where_asked(make, end_on_success):
    env = make(end_on_success=end_on_success)
    for seed in range(5):
        *before, (_, reward, terminated, _, info) = solve(env, seed)
        assert info["success"]
        assert reward > 0
        assert terminated is end_on_success
        assert not any(result[2] for result in before)


def test_without_an_end_on_success_the_time_limit_ends_the_episode():
    env = make_find(end_on_success=False, max_steps=30)
    steps = len(list(solve(env, 1)))
    ends = [env.step(Actions.left)[2:4] for _ in range(30 - steps)]
    assert ends == [(False, False)] * (29 - steps) + [(False, True)]


def test_a_wrong_object_ends_a_lift_even_without_an_end_on_success():
    env = make_lift(end_on_success=False)
    env.reset(seed=0)
    level = env.unwrapped
    right = level.instrs.desc.obj_set[0]
    wrong = next(t for t in level.grid.grid if t and t.can_pickup() and t is not right)
    level.grid.set(*wrong.cur_pos, None)
    level.grid.set(*level.front_pos, wrong)
    _, reward, terminated, _, info = env.step(Actions.pickup)
    assert (reward, terminated, info["success"]) == (0, True, False)


@MAKERS
def test_a_seed_gives_one_episode(make):
    def episode(seed):
        env = make()
        env.action_space.seed(seed)
        frames = [env.reset(seed=seed)[0]]
        frames += [env.step(env.action_space.sample())[0] for _ in range(10)]
        return np.stack(frames)

    np.testing.assert_array_equal(episode(3), episode(3))
    assert (episode(3) != episode(4)).any()


def test_nothing_is_printed_while_layouts_are_rejected(capsys):
    env = make_place(room_size=5, num_objects=4)
    for seed in range(30):
        env.reset(seed=seed)
    assert capsys.readouterr().out == ""


def test_a_level_of_another_kind_is_refused_when_it_is_made():
    with pytest.raises(GoalError, match="Choose a level with one such instruction"):
        make_babyai("BabyAI-GoToSeq-v0")


@MAKERS
def test_an_asked_goal_is_told_word_for_word(make):
    env = make()
    goal = env.unwrapped.mission.replace("the", "a")
    _, info = env.reset(seed=0, options={"goal": goal})
    assert info["goal"] == goal
    assert env.step(Actions.left)[4]["goal"] == goal
    assert env.reset()[1]["goal"] == env.unwrapped.mission != goal


def wander(env, steps, seed=0):
    """Yield the info before a step of random play, and the step; it takes and drops what it can."""
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    for _ in range(steps):
        ahead = env.unwrapped.grid.get(*env.unwrapped.front_pos)
        take = ahead is not None and ahead.can_pickup() and rng.random() < 0.5
        action = Actions.pickup if take else rng.choice(5, p=(0.2, 0.2, 0.3, 0.2, 0.1))
        result = env.step(action)
        yield info, result
        info = result[4]
        if result[2] or result[3]:
            _, info = env.reset()


def test_random_play_in_a_playroom_shows_every_family_and_its_success():
    env = make_playroom(room_size=5)
    reached = {"go": 0, "pick": 0, "put": 0}
    for _, (_, _, _, _, info) in wander(env, 6000):
        reached[info["goal"].split()[0]] += info["success"]
    assert all(count > 5 for count in reached.values())


@pytest.mark.parametrize("family", ["find", "lift", "place"])
def test_a_playrooms_episodes_end_as_those_of_the_single_level(family):
    """Without an end on success: only a wrong object in the hand ends one, and only a Lift."""
    env = make_playroom(families=(family,), max_steps=150, end_on_success=False, room_size=5)
    paid, ends = [], 0
    for before, (_, reward, terminated, _, info) in wander(env, 8000):
        level = env.unwrapped
        wrong = level.carrying is not None and not info["success"]
        assert terminated == (family == "lift" and wrong)
        ends += terminated
        if family == "find":
            assert (reward > 0) == info["success"]
        elif reward > 0:
            assert info["success"]
            assert not before["success"]
        paid.append(reward > 0)
    assert sum(paid) > 10
    assert (ends > 20) == (family == "lift")


def test_what_was_carried_off_is_not_faced_where_it_lay():
    env = make_playroom(families=("find",), end_on_success=False, max_steps=100)
    for seed in range(5):
        list(solve(env, seed))
        _, reward, terminated, _, info = env.step(Actions.pickup)
        assert env.unwrapped.carrying is not None
        assert (reward, terminated, info["success"]) == (0, False, False)
        _, reward, terminated, _, info = env.step(Actions.drop)
        assert reward > 0
        assert (terminated, info["success"]) == (False, True)


def test_envs_that_are_never_seeded_play_different_missions():
    played = []
    for _ in range(3):
        env = make_lift()
        played.append([env.reset()[1]["goal"] for _ in range(8)])
    assert played[0] != played[1] != played[2]
