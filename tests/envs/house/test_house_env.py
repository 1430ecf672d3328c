"""The env: what an agent sees, when an episode ends, and what is refused."""

import gc
import os

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rllib_vlm_reward  # noqa: F401  (registers the envs)
from rllib_vlm_reward.envs.house.env import ROOM_THINGS, House, make_house_room
from rllib_vlm_reward.envs.house.ground_truth import accomplished
from rllib_vlm_reward.envs.house.mission import FORMS
from rllib_vlm_reward.envs.house.scene import Action, Pose
from rllib_vlm_reward.envs.house.things import KINDS
from rllib_vlm_reward.errors import GoalError

pytestmark = pytest.mark.house
FAMILIES = pytest.mark.parametrize("family", FORMS)
IDS = pytest.mark.parametrize("name", ["House", "HouseRoom"])


def solve(env, seed):
    """Let the expert play; yield each step's result."""
    env.reset(seed=seed)
    while True:
        result = env.step(env.expert_action())
        yield result
        if result[2] or result[3] or result[4]["success"]:
            return


@IDS
@pytest.mark.filterwarnings("ignore:.*")
def test_gymnasium_finds_no_fault(name):
    check_env(gym.make(f"rllib_vlm_reward/{name}-v0").unwrapped, skip_render_check=True)


def test_each_step_shows_the_state_and_says_goal_and_truth(played):
    for env in played(40):
        frame = env.render()
        assert env.observation_space.contains(frame)
        np.testing.assert_array_equal(frame, env._renderer.draw(env.scene))


@FAMILIES
def test_actions_are_those_that_the_family_needs(family):
    last = {"find": Action.FORWARD, "lift": Action.PICK_UP, "place": Action.DROP}[family]
    env = make_house_room(families=(family,))
    assert env.action_space.n == last + 1
    *before, (_, reward, terminated, truncated, info) = solve(env, 0)
    assert info["success"]
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx(1 - 0.9 * (len(before) + 1) / 60)
    assert all(result[1:4] == (0.0, False, False) for result in before)


def test_without_an_end_on_success_the_time_limit_ends_the_episode():
    env = make_house_room(families=("find",), end_on_success=False, max_steps=40)
    steps = len(list(solve(env, 1)))
    ends = [env.step(Action.LEFT)[2:4] for _ in range(40 - steps)]
    assert ends == [(False, False)] * (39 - steps) + [(False, True)]


def test_a_wrong_thing_ends_a_lift():
    env = make_house_room(families=("lift",), end_on_success=False)
    env.reset(seed=0, options={"goal": "pick up the duckie"})
    room = env.scene.plan.rooms[0]
    env.scene.agent = Pose((room.min_x + room.max_x) / 2, (room.min_z + room.max_z) / 2, 0.0)
    env.scene.places[1] = env.scene.agent.ahead(0.7)
    _, reward, terminated, _, info = env.step(Action.PICK_UP)
    assert env.scene.carried == 1
    assert (reward, terminated, info["success"]) == (0, True, False)


@IDS
def test_a_seed_gives_one_episode(name):
    def episode(seed):
        env = gym.make(f"rllib_vlm_reward/{name}-v0")
        env.action_space.seed(seed)
        frames = [env.reset(seed=seed)[0]]
        frames += [env.step(env.action_space.sample())[0] for _ in range(10)]
        return np.stack(frames), env.unwrapped.mission

    frames, mission = episode(3)
    np.testing.assert_array_equal(frames, episode(3)[0])
    assert mission == episode(3)[1]
    assert (frames != episode(4)[0]).any()


@pytest.mark.parametrize(
    "goal",
    ["go near a blue barrel", "pick up the red key", "put the duckie next to the potion"],
)
def test_an_asked_goal_is_the_episodes(goal):
    env = House()
    _, info = env.reset(seed=0, options={"goal": goal})
    assert info == {"goal": goal, "success": False}
    assert env.step(Action.LEFT)[4]["goal"] == goal
    names = [kind.name for kind in env.scene.kinds]
    assert len(set(names)) == 7
    assert all(name in names for name in env.mission.things)
    assert env.reset()[1]["goal"] != goal


def test_an_unknown_goal_is_one_clear_error():
    env = make_house_room()
    with pytest.raises(GoalError, match=r"got the thing 'desk', expected one of .*'duckie'"):
        env.reset(options={"goal": "pick up the desk"})
    assert env.reset(seed=0)[1]["success"] is False  # and the env goes on


def test_drawn_goals_are_of_every_family_and_thing():
    env = House(num_rooms=1, num_things=3)
    goals = [env.reset(seed=seed)[1]["goal"] for seed in range(120)]
    assert {goal.split()[0] for goal in goals} == {"go", "pick", "put"}
    assert len({name for name in KINDS if any(f"the {name}" in goal for goal in goals)}) > 24


def test_what_is_reserved_appears_only_in_its_goals():
    env = make_house_room(reserved=("duckie",), num_things=3)
    for seed in range(20):
        env.reset(seed=seed)
        assert "duckie" not in {kind.name for kind in env.scene.kinds}
    env.reset(seed=0, options={"goal": "go near the duckie"})
    assert env.scene.kinds[0].name == "duckie"


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"num_rooms": 0}, "num_rooms: got 0, expected 1 to 6"),
        ({"num_things": 11}, "num_things: got 11, expected 2 to 10"),
        ({"things": ["duckie", "pink ball"]}, "things: got .*'pink ball'"),
        ({"things": []}, "things: got"),
        ({"reserved": ["duck"]}, "reserved: got"),
        ({"families": ["fetch"]}, "families: got .'fetch'., expected some of .'find', 'lift'"),
        ({"frame_size": 8}, "frame_size: got 8, expected 32 to 512"),
    ],
)
def test_what_does_not_exist_is_refused(settings, fault):
    with pytest.raises(ValueError, match=fault):
        House(**settings)


def test_the_small_variant_is_one_room_of_three_things():
    env = gym.make("rllib_vlm_reward/HouseRoom-v0", frame_size=96).unwrapped
    assert env.reset(seed=0)[0].shape == (96, 96, 3)
    assert len(env.scene.plan.rooms) == 1
    assert len(env.scene.kinds) == 3
    assert {kind.name for kind in env.scene.kinds} <= set(ROOM_THINGS)
    assert env.max_steps == 60


@pytest.mark.timeout(120)  # a fork of a process that has drawn would hang, with Mesa's threads
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec_is_the_single_envs_side_by_side(mode):
    many = gym.make_vec("rllib_vlm_reward/House-v0", num_envs=2, vectorization_mode=mode)
    try:
        frames, infos = many.reset(seed=[7, 8])
        many.action_space.seed(0)
        actions = [many.action_space.sample() for _ in range(8)]
        stepped = [many.step(action) for action in actions]
    finally:
        many.close()
    for index, seed in enumerate((7, 8)):
        one = gym.make("rllib_vlm_reward/House-v0")
        frame, info = one.reset(seed=seed)
        np.testing.assert_array_equal(frames[index], frame)
        assert infos["goal"][index] == info["goal"]
        for action, (batch, _, ended, _, said) in zip(actions, stepped, strict=True):
            frame, _, terminated, _, info = one.step(action[index])
            np.testing.assert_array_equal(batch[index], frame)
            assert said["success"][index] == info["success"]
            assert ended[index] == terminated
            if terminated:
                break


def test_success_is_the_states_alone(played):
    """Not the picture's: it is the same when nothing is drawn."""
    outcomes = []
    for env in played(200, random=0.3, num_rooms=1, num_things=3):
        before = accomplished(env.scene, env.mission)
        env._renderer.draw(env.scene, without=range(3))
        assert accomplished(env.scene, env.mission) == before
        outcomes.append(before)
    assert any(outcomes)
    assert not all(outcomes)


def resident():
    """Return the memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="only Linux has it")
def test_memory_is_flat(long_form):
    """MiniWorld loses tens of MB for each env that is closed."""
    warm, episodes, envs = (600, 2000, 200) if long_form else (50, 50, 30)
    kept = make_house_room()

    def work(episodes, envs):
        for _ in range(episodes):
            kept.reset()
            for _ in range(3):
                kept.step(kept.action_space.sample())
        for number in range(envs):
            env = make_house_room()
            env.reset()
            if number % 2:
                env.close()  # and the others are forgotten
        gc.collect()

    work(warm, 30)
    before = resident()
    work(episodes, envs)
    assert resident() - before < 5
