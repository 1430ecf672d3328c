"""Replay buffers with hindsight, without an algorithm."""

import types

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.connectors.custom_data import FIRES, FIRST_STEPS, GOAL_INDEX, SHOWN_GOAL
from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.replay import (
    HindsightCallbacks,
    HindsightEpisodeReplayBuffer,
    HindsightPrioritizedEpisodeReplayBuffer,
    with_hindsight,
)
from rllib_vlm_reward.warnings import warn_once

EMBEDDINGS = {goal: np.full(3, goal, np.float32) for goal in range(6)}
BUFFERS = [HindsightEpisodeReplayBuffer, HindsightPrioritizedEpisodeReplayBuffer]
both = pytest.mark.parametrize("kind", BUFFERS, ids=["uniform", "prioritised"])


def made(kind, copies=2, capacity=1_000):
    buffer = kind(capacity=capacity, copies=copies)
    buffer.embeddings = EMBEDDINGS
    return buffer


def episode(id_, length, first, *, start=0, done=True, **custom_data):
    """Return a chunk of an episode for goal 0, whose observations and actions say their step."""
    steps = range(start, start + length)
    chunk = SingleAgentEpisode(
        id_=id_,
        observations=[
            {"observation": np.array([step], np.float32), "goal": EMBEDDINGS[0]}
            for step in (*steps, start + length)
        ],
        actions=[*steps],
        rewards=[7.0] * length,
        infos=[{}] * (length + 1),
        truncated=done,
        t_started=start,
        len_lookback_buffer=0,
    )
    named = {str(goal): step for goal, step in first.items()}
    chunk.custom_data.update({GOAL_INDEX: 0, FIRST_STEPS: named, **custom_data})
    return chunk


def copies_in(buffer):
    return {each.id_: each for each in buffer.episodes if "/" in each.id_}


@both
@pytest.mark.parametrize("numpy", [False, True], ids=["lists", "arrays"])
def test_a_copy_ends_where_its_goal_first_held(kind, numpy):
    buffer = made(kind)
    chunks = [
        episode("a", 3, {4: 2}, done=False),
        episode("b", 2, {5: 0}),
        episode("a", 4, {4: 2, 2: 6, 3: 0}, start=3),
    ]
    for chunk in chunks:  # as RLlib adds them: each in another fragment
        buffer.add([chunk.to_numpy() if numpy else chunk])
    found = copies_in(buffer)
    assert {id_: len(copy) for id_, copy in found.items()} == {"a/4": 2, "a/2": 6}
    copy = found["a/2"]
    assert [copy.get_observations(t)["observation"].item() for t in range(7)] == [*range(7)]
    assert {copy.get_observations(t)["goal"].tolist()[0] for t in range(7)} == {2.0}
    assert [*copy.get_rewards()] == [0.0] * 5 + [1.0]
    assert [*copy.get_actions()] == [*range(6)]
    assert (copy.is_terminated, copy.is_truncated) == (True, False)
    assert copy.custom_data[GOAL_INDEX] == 2
    whole = next(each for each in buffer.episodes if each.id_ == "a")
    assert [*whole.get_rewards()] == [7.0] * 7
    assert whole.get_observations(0)["goal"].tolist() == [0.0] * 3
    assert buffer.take_counts() == (2, 2, 2)
    assert buffer.take_counts() == (0, 0, 2)


@both
def test_goals_that_were_seldom_reached_come_first(kind):
    buffer, made_for = made(kind, copies=1), []
    reached = [{1: 1, 2: 1}, {1: 1, 2: 1}, {1: 1, 2: 1, 3: 2}, {2: 1, 1: 1}, {3: 1, 2: 2}]
    counts = dict.fromkeys(range(6), 0)
    for number, first in enumerate(reached):
        buffer.add([episode(str(number), 3, first)])
        for goal in first:
            counts[goal] += 1
        (id_,) = [id_ for id_ in copies_in(buffer) if id_.startswith(f"{number}/")]
        made_for.append(int(id_.split("/")[1]))
        assert counts[made_for[-1]] == min(counts[goal] for goal in first)
    assert made_for == [1, 1, 3, 1, 3]


@both
def test_a_restored_buffer_knows_what_was_rare(kind):
    buffer, again = made(kind, copies=1), made(kind, copies=1)
    for number in range(3):
        buffer.add([episode(f"a{number}", 3, {1: 1})])
    again.set_state(buffer.get_state())
    again.add([episode("b", 3, {1: 1, 2: 3})])
    assert "b/2" in copies_in(again)
    assert again.take_counts()[2] == 2


@both
def test_an_episode_whose_beginning_has_left_the_buffer_has_no_copies(kind):
    buffer = made(kind, capacity=10)
    buffer.add([episode("a", 6, {1: 2}, done=False)])
    buffer.add([episode("b", 9, {})])
    buffer.add([episode("a", 3, {1: 2, 2: 8}, start=6)])
    assert not copies_in(buffer)
    buffer.add([episode("c", 3, {2: 2})])
    assert {*copies_in(buffer)} == {"c/2"}


@both
def test_a_wrong_goal_on_show_is_not_copied(kind):
    buffer = made(kind)
    buffer.add([episode("a", 3, {1: 2}, **{SHOWN_GOAL: 4})])
    assert not copies_in(buffer)


@both
def test_more_copies_than_fit_into_the_buffer_push_out_the_oldest(kind):
    buffer = made(kind, copies=4, capacity=50)
    reached = {1: 20, 2: 19, 3: 18, 4: 17}
    buffer.add([episode(id_, 20, reached) for id_ in "ab"])
    assert sum(map(len, buffer.episodes)) <= 50
    assert [each.id_ for each in buffer.episodes][-1] == "b/4"
    assert buffer.take_counts()[1] == 8
    buffer.add([episode("c", 20, {})])
    assert buffer.episodes[-1].id_ == "c"


@both
def test_a_goal_that_a_connector_changed_is_an_error(kind):
    buffer = made(kind)
    buffer.embeddings = {goal: 2 * each + 1 for goal, each in EMBEDDINGS.items()}
    with pytest.raises(RewardError, match=r"'goal' is not the embedding.* Remove the env-to-mod"):
        buffer.add([episode("a", 3, {1: 2})])


def test_episodes_without_any_copy_are_a_warning_that_says_why(caplog):
    warn_once.cache_clear()
    buffer = made(HindsightEpisodeReplayBuffer, capacity=5_000)
    for number in range(150):
        buffer.add([episode(f"a{number}", 3, {1: 0})])
    assert not caplog.text
    buffer.add([episode(f"b{number}", 3, {}, start=4) for number in range(50)])
    assert "200 episodes ended, and no copy was made: of 50 the beginning" in caplog.text


def test_an_episode_that_is_paid_twice_is_a_warning(caplog):
    warn_once.cache_clear()
    buffer = made(HindsightEpisodeReplayBuffer)
    buffer.add([episode("a", 3, {}, **{FIRES: 1})])
    assert not caplog.text
    buffer.add([episode("b", 3, {}, **{FIRES: 2})])
    assert "paid more than once" in caplog.text


def test_an_unknown_goal_is_an_error():
    buffer = HindsightEpisodeReplayBuffer(copies=1)
    with pytest.raises(RewardError, match=r"embedding of goal 1\. Set vlm_reward\.hindsight"):
        buffer.add([episode("a", 3, {1: 2})])


def test_only_buffers_of_whole_episodes_get_copies():
    own = with_hindsight({"type": "my_package.MyEpisodeReplayBuffer"}, 3)
    assert own == {"type": "my_package.MyEpisodeReplayBuffer", "copies": 3}
    with pytest.raises(RewardError, match=r"type 'ReplayBuffer', expected EpisodeReplayBuffer or"):
        with_hindsight({"type": "ReplayBuffer"}, 3)


def algorithm(space, *, stateful=False, buffer=None):
    module = types.SimpleNamespace(observation_space=space, is_stateful=lambda: stateful)
    return types.SimpleNamespace(get_module=lambda: module, local_replay_buffer=buffer)


BOX = gym.spaces.Box(-1, 1, (3,))
SEEN = gym.spaces.Dict(observation=BOX, goal=BOX)


@pytest.mark.parametrize(
    ("built", "error"),
    [
        (algorithm(BOX), r"policy observes Box.* Remove the env-to-module connectors"),
        (algorithm(SEEN, stateful=True), r"which has memory.* Set stacked_frames"),
    ],
    ids=["flat", "memory"],
)
def test_what_a_policy_needs_is_checked_when_it_is_built(built, error, painted_config):
    vlm = painted_config(threshold=0.5, hindsight=2)
    with pytest.raises(RewardError, match=error):
        HindsightCallbacks(vlm).on_algorithm_init(algorithm=built)
