import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from red_pool import red_score

from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.monitoring.highlights import MOST_OF_A_FRAGMENT, Highlights, best
from rllib_vlm_reward.monitoring.metric_names import take_items
from rllib_vlm_reward.monitoring.scored_steps import Recorder, ScoredFrame


def highlight(number, score, episode="e", success=None):
    frame = np.full((2, 2, 3), number, np.uint8)
    return ScoredFrame(episode, 1, frame, "a ball", score, success)


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


@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from([1, 4, 8]))
def test_half_of_the_best_are_the_highest_scored_failures(failures, others, most):
    wrong = [highlight(i, 0.1 + 0.01 * i, f"f{i}", success=False) for i in range(failures)]
    right = [highlight(100 + i, 0.8 + 0.01 * i, f"s{i}", success=True) for i in range(others)]
    chosen = best([*wrong, *right], most=most)
    assert len(chosen) == min(most, failures + others)
    paid = [it.score for it in chosen if it.success is False]
    assert paid == [it.score for it in wrong[::-1]][: len(paid)]
    assert len(paid) == min(failures, max(most // 2, most - others))


def test_an_episode_shows_its_success_and_its_highest_failure():
    each = [highlight(i, 0.1 * i, success=i == 9) for i in range(10)]
    assert [it.score for it in best(each, most=8)] == [0.9, 0.8]


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
    runner.sample(num_timesteps=200)  # at least six episodes, of which each is shown at most twice
    logged = runner.metrics.peek(("vlm_reward", "highlights"))
    logged = [ScoredFrame(*it) for it in logged]
    assert len(logged) == MOST_OF_A_FRAGMENT
    assert sum(it.success is False for it in logged) >= MOST_OF_A_FRAGMENT // 2
    assert not recorded or logged[0].score == max(it.score for it in recorder.frames)
    for it in logged:
        goal = np.array([vlm.goal_set.index(it.goal)])
        assert it.score == red_score(it.frame[None], goal)[0]
        assert it.success in (True, False)
        assert not recorded or any(it[:2] == row[:2] for row in recorder.frames)
