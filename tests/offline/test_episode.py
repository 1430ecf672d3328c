"""One recorded episode; expected values are written out or computed here."""

import gymnasium as gym
import msgpack
import msgpack_numpy
import numpy as np
import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.errors import FrameError, GoalError, RewardError
from rllib_vlm_reward.offline.episode import RecordedEpisode

STEPS = 5


def make(observe=lambda t: frame(t), info=lambda t: {}, space=None):
    """An episode of 5 steps; step t pays 10 t; its reset names a goal."""
    episode = SingleAgentEpisode(observation_space=space)
    episode.add_env_reset(observation=observe(0), infos={"goal": "a blue wall", **info(0)})
    for t in range(1, STEPS + 1):
        episode.add_env_step(
            observation=observe(t),
            action=t,
            reward=10.0 * t,
            infos={"t": t, **info(t)},
            terminated=t == STEPS,
        )
    return episode


def frame(t):
    return np.full((4, 4, 3), t, np.uint8)


def row(episode):
    return msgpack.packb(episode.get_state(), default=msgpack_numpy.encode)


def back(recorded, goal=0):
    """What RLlib reads of it."""
    state = msgpack.unpackb(recorded.to_row(goal), object_hook=msgpack_numpy.decode)
    return SingleAgentEpisode.from_state(state)


def scores(n=STEPS):
    return (np.arange(n) / 8).astype(np.float32)


@pytest.mark.parametrize(
    ("source", "observe", "info"),
    [
        ("obs", frame, lambda t: {}),
        ("obs:rgb", lambda t: {"rgb": frame(t), "x": 0.0}, lambda t: {}),
        ("info:rgb", lambda t: float(t), lambda t: {"rgb": frame(t)}),
        ("obs", lambda t: {"observation": frame(t), "goal": np.zeros(3)}, lambda t: {}),
    ],
)
@pytest.mark.parametrize("numpyized", [False, True])
def test_frames_are_those_after_each_action(source, observe, info, numpyized):
    episode = make(observe, info)
    if numpyized:
        episode.to_numpy()
    frames = RecordedEpisode(row(episode)).frames(source)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("source", "observe", "number"),
    [
        ("obs", lambda t: np.zeros((4, 4, 12), np.uint8), 4),
        ("obs:rgb", lambda t: {"rgb": np.zeros((4, 4, 6), np.uint8)}, 2),
        ("obs", lambda t: {"observation": np.zeros((4, 4, 6), np.uint8), "goal": 0.0}, 2),
        ("obs", lambda t: np.zeros((5, 4, 4, 3), np.uint8), 5),
        ("obs", lambda t: np.full((4, 4, 3), range(t, t + 3), np.uint8), 3),  # grey
    ],
)
def test_stacks_of_frames_are_refused_with_the_reason(source, observe, number):
    with pytest.raises(FrameError, match=f"stacks of {number} frames.*stacked_frames.*info:KEY"):
        RecordedEpisode(row(make(observe))).frames(source)


def test_frames_in_which_little_happens_are_no_stacks():
    still = RecordedEpisode(row(make(lambda t: frame(7)))).frames("obs")
    blue = RecordedEpisode(
        row(make(lambda t: np.full((4, 4, 3), (0, 0, 255 * (t == STEPS)), np.uint8)))
    ).frames("obs")
    assert (still == 7).all()
    assert blue[:, 0, 0, 2].tolist() == [0, 0, 0, 0, 255]


@pytest.mark.parametrize("numpyized", [False, True])
def test_rewards_are_replaced_and_the_recorded_ones_kept(vlm_config, numpyized):
    episode = make()
    if numpyized:
        episode.to_numpy()
    recorded = RecordedEpisode(row(episode))
    paid, written = recorded.reward(scores(), vlm_config())
    relabelled = back(recorded)
    assert np.array(relabelled.get_rewards()).tolist() == scores().tolist() == paid.tolist()
    assert written.tolist() == scores().tolist()
    assert [relabelled.get_infos(t).get("env_reward") for t in range(STEPS + 1)] == [
        None, 10.0, 20.0, 30.0, 40.0, 50.0,
    ]  # fmt: skip
    assert relabelled.is_numpy == numpyized
    assert relabelled.is_terminated
    assert relabelled.id_ == episode.id_
    assert np.array_equal(np.array(relabelled.get_observations()), [frame(t) for t in range(6)])


def test_the_threshold_and_the_envs_weight_are_as_online(vlm_config):
    recorded = RecordedEpisode(row(make()))
    config = vlm_config(threshold=0.3, env_reward_weight=0.5)
    paid, written = recorded.reward(scores(), config)
    assert paid.tolist() == [0, 0, 0, 1, 1]
    assert written.tolist() == [5, 10, 15, 21, 26]


def test_what_a_vlm_rewarded_before_keeps_the_envs_rewards(vlm_config):
    once = RecordedEpisode(row(make()))
    once.reward(scores(), vlm_config())
    twice = RecordedEpisode(once.to_row(0))
    _, written = twice.reward(np.zeros(STEPS, np.float32), vlm_config(env_reward_weight=1.0))
    assert written.tolist() == [10, 20, 30, 40, 50]


def test_totals_of_the_replaced_rewards_go_and_the_users_own_data_stay():
    episode = make()
    episode.custom_data.update(vlm_return=3.0, fires=2, goal_index=9, mine=[1])
    assert back(RecordedEpisode(row(episode)), goal=1).custom_data == {"goal_index": 1, "mine": [1]}


def test_of_a_chunk_the_lookback_is_rewarded_too(vlm_config):
    whole = SingleAgentEpisode()
    whole.add_env_reset(observation=frame(0), infos={"goal": "a blue wall"})
    for t in (1, 2, 3):
        whole.add_env_step(
            observation=frame(t), action=t, reward=-9.0, infos={"goal": "a red wall"}
        )
    chunk = whole.cut(len_lookback_buffer=2)
    for t in (4, 5):
        chunk.add_env_step(observation=frame(t), action=t, reward=-9.0, infos={"t": t})
    recorded = RecordedEpisode(row(chunk))
    assert recorded.goal(vlm_config()) == 0  # named at its first step, though not by a reset
    assert len(recorded) == 2
    assert recorded.frames("obs")[:, 0, 0, 0].tolist() == [2, 3, 4, 5]
    paid, written = recorded.reward(scores(4), vlm_config())
    assert paid.tolist() == written.tolist() == [0.25, 0.375]
    relabelled = back(recorded)
    assert np.array(relabelled.get_rewards()).tolist() == [0.25, 0.375]
    assert relabelled.get_rewards(-1, neg_index_as_lookback=True) == 0.125
    assert not recorded.is_done


def test_a_chunk_whose_goal_is_not_in_it_says_so(vlm_config):
    whole = make()
    whole.is_terminated = False
    chunk = whole.cut()
    chunk.add_env_step(observation=frame(9), action=0, reward=0.0, infos={})
    with pytest.raises(GoalError, match=r"starts at step 5.*complete_episodes"):
        RecordedEpisode(row(chunk)).goal(vlm_config())


def test_the_goal_is_the_one_that_the_reset_named(vlm_config):
    assert RecordedEpisode(row(make())).goal(vlm_config()) == 1
    other = make(info=lambda t: {"goal": "a pink wall"})
    with pytest.raises(GoalError, match="unknown goal 'a pink wall'"):
        RecordedEpisode(row(other)).goal(vlm_config())


def test_another_goal_is_named_where_the_env_named_its_own():
    recorded = RecordedEpisode(row(make(info=lambda t: {"goal": "old"} if t == 2 else {})))
    recorded.name_goal("info:goal", "new")
    named = [back(recorded).get_infos(t).get("goal") for t in range(STEPS + 1)]
    assert named == ["new", None, "new", None, None, None]


@pytest.mark.parametrize("numpyized", [False, True])
@pytest.mark.parametrize("shown_before", [False, True])
def test_the_goal_is_shown_beside_each_observation(numpyized, shown_before):
    space = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)
    both = gym.spaces.Dict(observation=space, goal=gym.spaces.Box(-1, 1, (2,), np.float32))
    old = np.array([-1, -1], np.float32)
    episode = (
        make(lambda t: {"observation": frame(t), "goal": old}, space=both)
        if shown_before
        else make(space=space)
    )
    if numpyized:
        episode.to_numpy()
    recorded = RecordedEpisode(row(episode))
    recorded.show_goal(np.array([0.5, 0.25], np.float32))
    relabelled = back(recorded)
    for t in range(STEPS + 1):
        observation = relabelled.get_observations(t)
        assert np.array_equal(observation["observation"], frame(t))
        assert observation["goal"].tolist() == [0.5, 0.25]
    assert relabelled.observation_space == relabelled.observations.space == both


@pytest.mark.parametrize("numpyized", [False, True])
def test_a_map_stays_as_the_policy_saw_it(numpyized):
    spaces = {
        "observation": gym.spaces.Box(0, 255, (4, 4, 3), np.uint8),
        "goal": gym.spaces.Box(-1, 1, (2,), np.float32),
        "map": gym.spaces.Box(0, 1, (2, 2, 1), np.float32),
    }

    def observe(t):
        old, shown = np.array([-1, -1], np.float32), np.full((2, 2, 1), t / 8, np.float32)
        return {"observation": frame(t), "goal": old, "map": shown}

    episode = make(observe, space=gym.spaces.Dict(spaces))
    if numpyized:
        episode.to_numpy()
    recorded = RecordedEpisode(row(episode))
    assert recorded.has_maps
    assert np.array_equal(recorded.frames("obs"), [frame(t) for t in range(1, STEPS + 1)])
    recorded.show_goal(np.array([0.5, 0.25], np.float32))
    relabelled = back(recorded)
    for t in range(STEPS + 1):
        observation = relabelled.get_observations(t)
        assert np.array_equal(observation["observation"], frame(t))
        assert observation["goal"].tolist() == [0.5, 0.25]
        assert np.array_equal(observation["map"], observe(t)["map"])
    assert relabelled.observation_space == gym.spaces.Dict(spaces)
    assert not RecordedEpisode(row(make())).has_maps


@pytest.mark.parametrize("broken", [b"", b"garbage", msgpack.packb({"id_": "x"})])
def test_a_row_that_is_no_episode(broken):
    with pytest.raises(RewardError, match="cannot be read as a recorded episode"):
        RecordedEpisode(broken)


@pytest.mark.parametrize(
    "changes",
    [
        {"t": 80},
        {"custom_data": None},
        {"infos": {"data": [{"goal": "a blue wall"}, *[{"env_reward": "much"}] * STEPS]}},
    ],
)
def test_a_row_whose_parts_do_not_fit_each_other(changes):
    state = make().get_state()
    for key, value in changes.items():
        state[key] = {**state[key], **value} if isinstance(value, dict) else value
    with pytest.raises(RewardError, match="cannot be read as a recorded episode"):
        RecordedEpisode(msgpack.packb(state, default=msgpack_numpy.encode))


def test_an_episode_without_a_step_has_nothing_to_score():
    episode = SingleAgentEpisode()
    episode.add_env_reset(observation=frame(0), infos={"goal": "a blue wall"})
    with pytest.raises(RewardError, match=r"0 rewards for 0 steps.*remove the row"):
        RecordedEpisode(row(episode))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rewarded", [False, True])
def test_an_env_reward_that_the_learner_would_see_is_finite(vlm_config, value, rewarded):
    episode = make(info=lambda t: {"env_reward": value if t == 3 else 0.0} if rewarded else {})
    if not rewarded:
        episode.set_rewards(new_data=value, at_indices=2)
    with pytest.raises(RewardError, match=rf"reward {value} at step 3.*env_reward_weight: 0"):
        RecordedEpisode(row(episode)).reward(scores(), vlm_config(env_reward_weight=0.5))
    paid, written = RecordedEpisode(row(episode)).reward(scores(), vlm_config())
    assert paid.tolist() == written.tolist() == scores().tolist()


@pytest.mark.parametrize(
    ("source", "observe"),
    [("obs", lambda t: np.zeros((4, 4, 3))), ("obs:rgb", frame), ("info:rgb", frame)],
)
def test_what_is_no_frame(source, observe):
    with pytest.raises(FrameError, match=source):
        RecordedEpisode(row(make(observe))).frames(source)


@pytest.mark.parametrize("lookback", [0, 2])
def test_a_chunk_knows_which_of_its_steps_are_scored(vlm_config, lookback):
    episode = make()
    chunk = SingleAgentEpisode(
        observations=episode.get_observations(),
        actions=episode.get_actions(),
        rewards=episode.get_rewards(),
        infos=episode.get_infos(),
        t_started=6,
        len_lookback_buffer=lookback,
    )
    recorded = RecordedEpisode(row(chunk))
    paid, _ = recorded.reward(scores(), vlm_config(frames={"scored_steps": 2}))
    steps = range(7, 12) if not lookback else range(7, 10)
    values = scores()[lookback:]
    assert paid.tolist() == [v if t % 2 == 0 else 0.0 for t, v in zip(steps, values, strict=True)]
    with pytest.raises(RewardError, match="window: got 2, but the episode is a chunk"):
        recorded.reward(scores(), vlm_config(frames={"window": 2}))
