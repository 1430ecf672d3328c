import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from red_pool import red_score

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.monitoring.highlights import MOST_OF_A_FRAGMENT, Highlights, best
from rllib_vlm_reward.monitoring.metric_names import take_items
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredFrame


def highlight(number, score, episode="e"):
    return ScoredFrame(episode, 1, np.full((2, 2, 3), number, np.uint8), "a ball", score, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1), st.sampled_from("abcdefgh"))))
def test_the_best_are_distinct_and_none_left_out_is_better(drawn):
    each = [highlight(*it) for it in drawn]
    chosen = best(each, most=4)
    assert [it.score for it in chosen] == sorted((it.score for it in chosen), reverse=True)
    assert len({it.episode for it in chosen}) == len(chosen)
    assert len({it.frame.tobytes() for it in chosen}) == len(chosen) <= 4
    for left in each:
        alike = [
            it
            for it in chosen
            if it.episode == left.episode or np.array_equal(it.frame, left.frame)
        ]
        better = alike or (chosen if len(chosen) == 4 else [])
        assert any(it.score >= left.score for it in better)


def test_frames_are_small_copies():
    frames = [np.zeros((400, 130, 3), np.uint8)]
    (small,) = Highlights().keep(frames)
    assert max(small.shape) <= 128
    frames[0][:] = 255  # the env draws into the same memory
    assert not small.any()


def test_a_long_fragment_does_not_fill_the_memory():
    highlights, frames = Highlights(), [np.zeros((128, 128, 3), np.uint8)] * 64
    kept = [highlights.keep(frames) for _ in range(20)]
    assert kept[0] is not None
    assert kept[-1] is None
    highlights.take()
    assert highlights.keep(frames) is not None


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("mode", ["deferred", "synchronous"])
def test_an_env_runner_logs_its_fragments_best_frames(mode, recorded, vlm_config, env_runner):
    vlm = vlm_config(mode=mode)
    runner = env_runner(vlm)
    runner.sample()
    assert not take_items({"env_runners": runner.get_metrics()}, "highlights")
    piece = reward_piece(runner)
    piece.show_highlights()
    recorder = Recorder()
    if recorded:
        piece.record(recorder)
    runner.sample()
    logged = runner.metrics.peek(("vlm_reward", "highlights"))
    logged = [ScoredFrame(*it) for it in logged]
    assert len(logged) == MOST_OF_A_FRAGMENT
    assert not recorded or logged[0].score == max(it.score for it in recorder.frames)
    for it in logged:
        goal = np.array([vlm.goal_set.index(it.goal)])
        assert it.score == red_score(it.frame[None], goal)[0]
        assert it.success in (True, False)
        assert not recorded or any(it[:2] == row[:2] for row in recorder.frames)
