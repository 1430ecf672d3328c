"""Goals drawn for an env: by their weights, by a seed, and only where the env takes them."""

from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.connectors.drawn_goal import DrawnGoal
from rllib_vlm_reward.connectors.early_end import ExternalReset
from rllib_vlm_reward.errors import GoalError

GOALS = ("a red wall", "a blue wall", "a green wall", "a grey wall")
LENGTH = 3


class ToldEnv(gym.Env):
    """Episodes of three steps; says which goal it was told, and draws something of its own."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options, self.t = options, 0
        return self._observe(), self.say()

    def step(self, action):
        self.t += 1
        return self._observe(), 0.0, self.t == LENGTH, False, self.say()

    def say(self):
        return {"goal": self.options["goal"]}

    def _observe(self):
        return self.np_random.random(1)


class MuteEnv(ToldEnv):
    """Says nothing of its goal."""

    def say(self):
        return {"t": self.t}


class WilfulEnv(ToldEnv):
    """Has a mission of its own."""

    def say(self):
        return {"goal": "a white wall"}


def make_env(kind=ToldEnv, training=3):
    return DrawnGoal(kind(), GOALS, training)


def draws(env, number, seed=0):
    goals = [env.reset(seed=seed)[1]["goal"]]
    return goals + [env.reset()[1]["goal"] for _ in range(number - 1)]


def test_until_weights_are_set_each_training_goal_is_as_likely():
    env = make_env()
    assert env.goal_weights == [1 / 3, 1 / 3, 1 / 3, 0]
    counts = Counter(draws(env, 3000))
    assert set(counts) == set(GOALS[:3])
    assert chi_square(counts, dict.fromkeys(GOALS[:3], 1000)) < 13.8  # p = 0.001 at 2 degrees


def chi_square(counts, expected):
    return sum((counts[goal] - number) ** 2 / number for goal, number in expected.items())


def test_goals_are_drawn_as_often_as_their_weights_say():
    env = make_env()
    env.goal_weights = weights = [0.1, 0.0, 0.55, 0.35]
    counts = Counter(draws(env, 4000))
    assert GOALS[1] not in counts
    expected = {goal: 4000 * weight for goal, weight in zip(GOALS, weights, strict=True) if weight}
    assert chi_square(counts, expected) < 13.8


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda each: sum(each) > 1e-3),
    st.integers(0, 2**31),
)
def test_a_goal_of_weight_0_is_never_drawn(weights, seed):
    goals = [f"goal {index}" for index in range(len(weights))]
    env = DrawnGoal(ToldEnv(), goals, len(goals))
    env.goal_weights = [weight / sum(weights) for weight in weights]
    for goal in draws(env, 40, seed):
        assert weights[goals.index(goal)] > 0


def test_a_seed_gives_one_sequence_of_goals():
    assert draws(make_env(), 50, seed=3) == draws(make_env(), 50, seed=3)
    assert draws(make_env(), 50, seed=3) != draws(make_env(), 50, seed=4)
    one, other = make_env(), make_env()
    assert [one.reset()[1]["goal"] for _ in range(50)] != [
        other.reset()[1]["goal"] for _ in range(50)
    ]


def test_what_the_env_draws_is_neither_disturbed_nor_drawn_from():
    bare, wrapped = ToldEnv(), make_env()
    for seed in (5, None, None):
        expected, _ = bare.reset(seed=seed, options={"goal": ""})
        observation, _ = wrapped.reset(seed=seed)
        np.testing.assert_array_equal(observation, expected)
    firsts = np.array([first_draw(seed) for seed in range(500)])
    assert abs(np.corrcoef(firsts.T)[0, 1]) < 0.15


def first_draw(seed):
    """The first number that the env draws, and the index of the goal, of many, drawn for it."""
    env = DrawnGoal(ToldEnv(), [str(index) for index in range(100)], 100)
    observation, info = env.reset(seed=seed)
    return observation[0], int(info["goal"])


def test_a_named_goal_takes_the_place_of_the_draw_and_other_options_pass():
    env = make_env()
    options = {"goal": GOALS[3], "size": 7}
    for _ in range(20):
        assert env.reset(options=options)[1]["goal"] == GOALS[3]
        assert env.step(0)[4]["goal"] == GOALS[3]
        assert env.unwrapped.options == options
    env.reset(options={"size": 7})
    assert env.unwrapped.options["size"] == 7
    assert env.unwrapped.options["goal"] in GOALS[:3]
    assert options == {"goal": GOALS[3], "size": 7}


@pytest.mark.parametrize("kind", [ToldEnv, MuteEnv])
def test_every_info_names_the_goal_that_was_posed(kind):
    env = make_env(kind)
    for seed in range(5):
        _, info = env.reset(seed=seed)
        for t in range(LENGTH):
            assert info["goal"] == env.unwrapped.options["goal"]
            assert info.get("t", t) == t
            *_, info = env.step(0)
        assert info["goal"] == env.unwrapped.options["goal"]


def test_an_env_that_chooses_for_itself_is_an_error():
    with pytest.raises(GoalError, match=r"chose another goal, 'a white wall'\. Remove"):
        make_env(WilfulEnv).reset(seed=0)
    with pytest.raises(GoalError, match="goal 'a blue wall': the env chose another goal"):
        make_env(WilfulEnv).reset(options={"goal": "a blue wall"})


@pytest.mark.parametrize(
    "weights",
    [
        [],
        [1.0],
        [0.25] * 5,
        [0.5, 0.6, -0.1, 0],
        [0.3] * 4,
        [0.0] * 4,
        [float("nan"), 1, 0, 0],
        [float("inf"), 0, 0, 0],
    ],
)
def test_weights_that_are_no_distribution_over_the_goals_are_refused_at_once(weights):
    env = make_env()
    before = env.goal_weights
    with pytest.raises(GoalError, match=f"got {len(weights)} weights.*expected 4 weights"):
        env.goal_weights = weights
    assert env.goal_weights == before


@pytest.mark.parametrize("wrappers", [(), (ExternalReset,)])
@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_weights_reach_each_env_and_count_from_its_next_reset(vectorise, wrappers):
    def make():
        env = make_env()
        for wrapper in wrappers:
            env = wrapper(env)
        return env

    def one_hot(index):
        return [float(index == other) for other in range(len(GOALS))]

    env = vectorise([make] * 3)
    actions = np.zeros(3, int)
    try:
        assert env.get_attr("goal_weights") == ([1 / 3, 1 / 3, 1 / 3, 0],) * 3
        env.set_attr("goal_weights", [one_hot(index) for index in (2, 0, 3)])
        _, infos = env.reset(seed=0)
        assert infos["goal"].tolist() == [GOALS[2], GOALS[0], GOALS[3]]
        env.set_attr("goal_weights", [one_hot(1)] * 3)
        for _ in range(LENGTH):  # the running episodes keep their goals
            *_, terminated, _, infos = env.step(actions)
            assert infos["goal"].tolist() == [GOALS[2], GOALS[0], GOALS[3]]
        assert terminated.all()
        *_, infos = env.step(actions)  # NEXT_STEP autoreset
        assert infos["goal"].tolist() == [GOALS[1]] * 3
    finally:
        env.close()


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_a_reset_from_outside_draws_too(vectorise):
    env = vectorise([lambda: ExternalReset(make_env())] * 2)
    actions = np.zeros(2, int)
    try:
        env.reset(seed=0)
        before = env.step(actions)[4]["goal"].tolist()
        env.set_attr("goal_weights", [[0.0, 0.0, 0.0, 1.0]] * 2)
        env.set_attr("external_reset", [True, False])
        *_, infos = env.step(actions)
        assert infos["goal"].tolist() == [GOALS[3], before[1]]
    finally:
        env.close()


def test_the_envs_of_a_seeded_vector_draw_each_their_own():
    env = gym.vector.SyncVectorEnv([make_env] * 4)
    goals = [tuple(env.reset(seed=seed)[1]["goal"]) for seed in (7, 7, 8)]
    drawn = np.array([tuple(env.reset()[1]["goal"]) for _ in range(40)])
    assert goals[0] == goals[1]
    assert all((drawn[:, 0] != drawn[:, other]).any() for other in (1, 2, 3))


MISSIONS = ("go to a red ball", "pick up the blue key", "put a grey box next to the red key")


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_a_playroom_poses_what_is_drawn(vectorise):
    def make():
        room = gym.make("rllib_vlm_reward/Playroom-v0", room_size=5, num_objects=2, max_steps=4)
        return DrawnGoal(room, MISSIONS, 3)

    env = vectorise([make] * 2)
    env.action_space.seed(0)
    seen = Counter()
    try:
        _, infos = env.reset(seed=0)
        for _ in range(120):
            assert infos["goal"].tolist() == list(env.get_attr("mission"))
            seen.update(infos["goal"].tolist())
            *_, infos = env.step(env.action_space.sample())
    finally:
        env.close()
    assert set(seen) == set(MISSIONS)


def test_a_level_that_cannot_pose_a_goal_says_so():
    env = DrawnGoal(gym.make("rllib_vlm_reward/Lift-v0"), MISSIONS[:1], 1)
    with pytest.raises(GoalError, match=r"expected one of \['pick up the COLOUR KIND'"):
        env.reset(seed=0)


def test_babyais_own_levels_choose_for_themselves():
    room = gym.make("rllib_vlm_reward/BabyAI-v0", level="BabyAI-PickupLoc-v0")
    with pytest.raises(GoalError, match="use the goal in reset"):
        DrawnGoal(room, MISSIONS, 3).reset(seed=0)


class MissionEnv(ToldEnv):
    """Tells its goal as the observation's mission, and may choose it."""

    wilful = False

    def say(self):
        return {}

    def _observe(self):
        mission = "a white wall" if self.wilful else self.options["goal"]
        return {"mission": mission}


def test_an_env_that_tells_its_goal_elsewhere_is_believed_there_alone():
    env = DrawnGoal(MissionEnv(), GOALS, 3, goal_source="obs:mission")
    observation, info = env.reset(seed=0)
    assert observation["mission"] == info["goal"]
    env.unwrapped.wilful = True
    with pytest.raises(GoalError, match="chose another goal"):
        env.reset()


@pytest.mark.parametrize("vectorise", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_goals_that_are_added_are_drawn_once_they_have_a_weight(vectorise):
    more = [*GOALS, "a black wall"]
    env = vectorise([lambda: ExternalReset(make_env())] * 2)
    try:
        env.set_attr("drawn_goals", [more] * 2)
        assert env.get_attr("goal_weights") == ([1 / 3, 1 / 3, 1 / 3, 0, 0],) * 2
        env.set_attr("goal_weights", [[0.0, 0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
        _, infos = env.reset(seed=0)
        assert infos["goal"].tolist() == ["a black wall", GOALS[1]]
        env.set_attr("drawn_goals", [GOALS] * 2)  # as after the restore of a checkpoint
        env.set_attr("goal_weights", [[0.0, 0.0, 1.0, 0.0]] * 2)
        assert env.reset()[1]["goal"].tolist() == [GOALS[2]] * 2
    finally:
        env.close()
