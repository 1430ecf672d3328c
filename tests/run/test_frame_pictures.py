import numpy as np
from PIL import Image

from rllib_vlm_reward.run.evaluator import Moment
from rllib_vlm_reward.run.frame_pictures import GREEN, draw_moment, save_video, strip


def moment(t=1, score=0.9, episode="a"):
    frame = np.full((56, 56, 3), 10 * t, np.uint8)
    return Moment(episode, t, frame, "pick up the red ball and put it next to the blue key", score)


def has(image, color):
    return bool((np.asarray(image) == color).all(-1).any())


def test_a_firing_reward_is_green():
    assert has(draw_moment(moment(score=0.9), 0.5), GREEN)
    assert not has(draw_moment(moment(score=0.4), 0.5), GREEN)
    assert not has(draw_moment(moment(score=0.9), None), GREEN)


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


def test_the_strip_shows_the_first_moments_side_by_side():
    one = strip([moment()], 0.5)
    many = strip([moment(t) for t in range(1, 20)], 0.5, most=3)
    assert many.shape == (one.shape[0], 3 * one.shape[1], 3)
