import numpy as np

from rllib_vlm_reward.monitoring.constancy import MIN_FRAMES, ConstancyCheck

SAME = np.zeros((MIN_FRAMES, 2, 2, 3), np.uint8)
DIFFERENT = np.arange(MIN_FRAMES * 12, dtype=np.uint8).reshape(SAME.shape)
CONSTANT = np.full(MIN_FRAMES, 0.25, np.float32)


def complaint(check, frames, scores):
    check.see_frames(frames)
    return check.see_scores(scores)


def test_constant_scores_of_different_frames_are_complained_of():
    assert "0.25 for each of 256 frames" in complaint(ConstancyCheck(), DIFFERENT, CONSTANT)


def test_it_waits_for_enough_frames():
    check = ConstancyCheck()
    assert complaint(check, DIFFERENT[:-1], CONSTANT[:-1]) is None
    assert complaint(check, DIFFERENT[-1:], CONSTANT[-1:]) is not None


def test_frames_that_do_not_differ_may_score_alike():
    assert complaint(ConstancyCheck(), SAME, CONSTANT) is None


def test_one_other_score_settles_it():
    check = ConstancyCheck()
    assert complaint(check, DIFFERENT[:1], np.array([0.5], np.float32)) is None
    assert complaint(check, DIFFERENT, CONSTANT) is None
    assert complaint(check, DIFFERENT, CONSTANT) is None


def test_a_head_that_clips_may_be_constant():
    assert complaint(ConstancyCheck(may_be_constant=True), DIFFERENT, CONSTANT) is None
