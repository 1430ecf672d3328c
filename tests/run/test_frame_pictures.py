import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from rllib_vlm_reward.monitoring.scored_steps import ScoredFrame
from rllib_vlm_reward.run.evaluator import Moment
from rllib_vlm_reward.run.frame_pictures import (
    ABOVE,
    GAP,
    GREEN,
    RED,
    SIDE,
    _font,
    draw_highlights,
    draw_moment,
    save_video,
    strip,
)

GOAL = "pick up the red ball and put it next to the blue key"


def moment(t=1, score=0.9, episode="a", success=None):
    frame = np.full((56, 56, 3), 10 * t, np.uint8)
    return Moment(episode, t, frame, GOAL, score, success)


def has(image, color):
    return bool((np.asarray(image) == color).all(-1).any())


def test_a_firing_reward_is_green():
    assert has(draw_moment(moment(score=0.9), 0.5), GREEN)
    assert not has(draw_moment(moment(score=0.4), 0.5), GREEN)
    assert not has(draw_moment(moment(score=0.9), None), GREEN)


def test_a_frame_without_a_score_shows_its_ground_truth_alone():
    plain, scored = draw_moment(moment(score=None, success=True), 0.5), draw_moment(moment(), 0.5)
    assert plain.size == scored.size
    assert edge(plain) == GREEN
    assert not has(plain, RED)  # the line at β
    assert has(scored, RED)


def test_a_map_darkens_the_frame_where_the_goal_is_not():
    frame = np.full((56, 56, 3), 200, np.uint8)
    shown = np.zeros((7, 7, 1), np.float32)
    shown[2, 5] = 1.0
    plain = Moment("a", 1, frame, GOAL, None)
    image = np.asarray(draw_moment(dataclasses.replace(plain, goal_map=shown), None))
    patches = image[ABOVE : ABOVE + SIDE].reshape(7, 32, 7, 32, 3)
    expected = np.full(patches.shape, 50)
    expected[2, :, 5] = 200
    np.testing.assert_array_equal(patches, expected)
    assert (np.asarray(draw_moment(plain, None))[ABOVE : ABOVE + SIDE] == 200).all()


def test_scores_of_any_range_are_drawn():
    for score in (-3.0, 0.0, 7.0):
        assert draw_moment(moment(score=score), 0.5).size == draw_moment(moment(), 0.5).size


def test_the_video_holds_the_end_of_each_episode(tmp_path):
    moments = [moment(1), moment(2), moment(1, episode="b"), moment(3, episode="b")]
    save_video(tmp_path / "a.gif", moments, 0.5)
    video = Image.open(tmp_path / "a.gif")
    durations = []
    for index in range(video.n_frames):
        video.seek(index)
        durations.append(video.info["duration"])
    assert durations == [250, 1200, 250, 1200]


def edge(image):
    """Return the colour of the frame's left edge."""
    return tuple(np.asarray(image)[image.height // 2, 0])


def test_the_edge_says_what_ground_truth_says_of_the_reward():
    assert edge(draw_moment(moment(score=0.9, success=True), 0.5)) == GREEN
    assert edge(draw_moment(moment(score=0.1, success=True), 0.5)) == GREEN
    assert edge(draw_moment(moment(score=0.9, success=False), 0.5)) == RED
    for nothing in (moment(score=0.1, success=False), moment(score=0.9)):
        assert edge(draw_moment(nothing, 0.5)) not in (GREEN, RED)


@pytest.mark.parametrize(
    ("changes", "threshold", "below"),
    [
        (
            {"score": 0.9, "success": True},
            0.5,
            ["step 1  score 0.900  β 0.5", "ground truth: success"],
        ),
        (
            {"score": 0.8125, "success": False},
            0.75,
            ["step 1  score 0.812  β 0.75", "ground truth: false positive"],
        ),
        (
            {"score": 0.25, "success": False},
            0.5,
            ["step 1  score 0.250  β 0.5", "ground truth: no success"],
        ),
        ({"score": 0.25}, None, ["step 1  score 0.250", "ground truth: unknown"]),
        ({"score": None}, 0.5, ["step 1", "ground truth: unknown"]),
    ],
)
def test_a_frame_of_the_video_says_score_beta_and_ground_truth(
    changes, threshold, below, tmp_path, monkeypatch
):
    written = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda pen, place, text, **how: written.append(text)
    )
    save_video(tmp_path / "agent.gif", [moment(**changes)], threshold)
    assert written[-2:] == below
    assert " ".join(written[:-2]) == GOAL


def test_what_stands_below_a_frame_is_not_cut():
    longest = ("step 1000  score -0.123  β 0.518", "ground truth: false positive")
    assert all(_font().getlength(line) < SIDE - 12 for line in longest)
    # A letter that the font lacks is drawn as a box, as any other such letter.
    assert _font().getmask("β").getbbox() != _font().getmask("\ue000").getbbox()


def test_beta_is_a_line_across_the_bar():
    image = np.asarray(draw_moment(moment(score=0.25), 0.5))
    _, columns = np.nonzero((image == RED).all(-1))
    assert set(columns) <= {6 + (SIDE - 12) // 2 + shift for shift in (-1, 0, 1)}
    assert len(columns) > 10
    assert not has(draw_moment(moment(score=0.25), None), RED)


def test_the_first_moments_are_shown_in_rows_of_four():
    one, four, five = (strip([moment()] * number, 0.5) for number in (1, 4, 5))
    assert four.shape == (one.shape[0], 4 * one.shape[1], 3)
    assert five.shape == (2 * one.shape[0], 4 * one.shape[1], 3)
    assert strip([moment()] * 20, 0.5).shape == five.shape


def test_the_failures_among_the_highest_scores_are_the_last_row():
    frame = np.zeros((8, 8, 3), np.uint8)
    each = [
        ScoredFrame(f"e{i}", 1, frame, GOAL, 0.9 - 0.01 * i, success)
        for i, success in enumerate([False, True] * 4)
    ]
    picture = draw_highlights(each, 0.5)
    above, below = np.split(picture, 2)
    assert edges(above) == [GREEN] * 4
    assert edges(below) == [RED] * 4


def edges(row):
    return [tuple(row[row.shape[0] // 2, i * (SIDE + GAP)]) for i in range(4)]
