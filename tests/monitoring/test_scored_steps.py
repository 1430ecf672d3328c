"""Joined vector steps are their rows in order, whatever was kept of each."""

import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredSteps, truth_of

TEXTS = ["a red ball", "a blue key"]


def vector_step(episodes, goals, truths, scores, frames=None):
    steps = ScoredSteps.begin(episodes, goals, [truth_of(it) for it in truths], TEXTS)
    steps.scored = np.array([score is not None for score in scores])
    steps.frame_scores = np.array([score or 0.0 for score in scores], np.float32)
    steps.frames = frames
    return steps


def picture(number):
    return np.full((2, 2, 3), number, np.uint8)


def two_steps():
    a, b = SingleAgentEpisode(id_="a"), SingleAgentEpisode(id_="b")
    again = SingleAgentEpisode(id_="a")  # what goes on of a
    first = vector_step([a, b], [0, 1], [True, None], [0.25, 0.5], [picture(1), picture(2)])
    second = vector_step([again, b], [0, 1], [False, None], [None, 0.75], [None, picture(3)])
    unseen = vector_step([b], [1], [None], [0.125])
    return (a, b, again), ScoredSteps.join([first, second, unseen])


def test_rows_keep_their_order_and_belong_to_an_episode_object():
    (a, b, again), steps = two_steps()
    assert len(steps) == 5
    assert {id(it): rows.tolist() for it, rows in steps.rows_by_episode().items()} == {
        id(a): [0],
        id(b): [1, 3, 4],
        id(again): [2],
    }
    assert steps.frame_scores.tolist() == [0.25, 0.5, 0.0, 0.75, 0.125]
    assert ScoredSteps.join([]).rows_by_episode() == {}


def test_a_recorder_keeps_the_frames_that_were_kept_with_what_is_known_of_them():
    recorder = Recorder()
    recorder.observe(two_steps()[1])
    assert [(*it[:2], it.frame[0, 0, 0], *it[3:]) for it in recorder.frames] == [
        ("a", 0, 1, "a red ball", 0.25, True),
        ("b", 0, 2, "a blue key", 0.5, None),
        ("b", 0, 3, "a blue key", 0.75, None),
    ]
