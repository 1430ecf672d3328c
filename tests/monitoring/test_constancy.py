import numpy as np

from rllib_vlm_reward import VLMRewardConfig
from rllib_vlm_reward.monitoring.constancy import MIN_FRAMES, ConstancyCheck, ConstancyChecks

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


def experts(**changes):
    """The checks of three experts, of which the third sees other frames."""
    near = {"encoder": "base", "frames": {"source": "info:crop"}}
    given = {"large": {"encoder": "base"}, "small": {"encoder": "small"}, "near": near}
    goals = ["a {ball|key}"]
    return ConstancyChecks(VLMRewardConfig(goals=goals, experts={**given, **changes}))


def answer(**scores):
    varied = np.linspace(0, 1, MIN_FRAMES, dtype=np.float32)
    columns = [scores.get(name, varied) for name in ("large", "small", "near")]
    return np.column_stack([CONSTANT, varied, *columns])


def test_each_expert_is_checked_by_its_own_scores_and_frames():
    for name in ("large", "small", "near"):
        error = complaint(experts(), [DIFFERENT, DIFFERENT], answer(**{name: CONSTANT}))
        assert error.startswith(f"expert '{name}': scores: got 0.25 for each of 256 frames")
    assert complaint(experts(), [DIFFERENT, SAME], answer(near=CONSTANT)) is None
    dense = {"encoder": "small", "head": "dense"}
    assert complaint(experts(small=dense), [DIFFERENT] * 2, answer(small=CONSTANT)) is None
    # The combined score is not checked: it may be that of an expert whose head clips.
    assert complaint(experts(), [DIFFERENT, DIFFERENT], answer()) is None


def test_an_expert_that_does_not_answer_is_not_checked():
    silent = np.full(MIN_FRAMES, np.nan, np.float32)
    assert complaint(experts(), [DIFFERENT, DIFFERENT], answer(small=silent)) is None
