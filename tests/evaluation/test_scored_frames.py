"""Labelled frames are scored as a run would score them."""

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.metrics import f1_score

from rllib_vlm_reward.config import Target, VLMRewardConfig
from rllib_vlm_reward.errors import GoalError, LabelError
from rllib_vlm_reward.evaluation.calibrate import calibrate
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import best_threshold, score_labelled
from rllib_vlm_reward.reward_model import spec
from rllib_vlm_reward.reward_model.clip import CLIPEncoder


def test_softmax_scores_are_the_papers_from_open_clips_own_encoder(quickstart, lift):
    rows = np.flatnonzero(lift.labels)[:3].tolist() + np.flatnonzero(~lift.labels)[:5].tolist()
    frames = lift.take(rows)
    config = quickstart.model_copy(update={"serving": {"precision": "fp32"}})
    scored = score_labelled(config, frames, encoder="small")
    folder = f"{spec.__file__.rpartition('/')[0]}/checkpoints/small"
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer, model = open_clip.get_tokenizer(f"local-dir:{folder}"), model.eval()
    pixels = [preprocess(Image.fromarray(frame)) for frame in frames.frames(range(8))]
    with torch.no_grad():
        images = model.encode_image(torch.stack(pixels), normalize=True)
        for row, (image, goal) in enumerate(zip(images, frames.goals, strict=True)):
            known = quickstart.goal_set[quickstart.goal_set.index(goal)]
            texts = model.encode_text(tokenizer([known.prompt, *known.negatives]), normalize=True)
            logits = (texts @ image * model.logit_scale.exp()).double().numpy()
            exponents = np.exp(logits - logits.max())
            expected = exponents[0] / exponents.sum()
            assert scored.scores[row] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert scored.config.encoder == "small"
    assert scored.fingerprint == CLIPEncoder.load("small").fingerprint


def test_goals_that_the_reward_lacks_are_named(lift):
    config = VLMRewardConfig(encoder="small", goals=["pick up the red {ball|box}"])
    with pytest.raises(GoalError, match=r"got \d+ goals .*'pick up the blue ball'") as error:
        score_labelled(config, lift)
    assert "Did you mean 'pick up the red ball'?" in str(error.value)


def test_a_given_threshold_is_kept_and_else_the_best_is_taken(quickstart, lift):
    assert score_labelled(quickstart, lift).threshold == 0.5
    chosen = score_labelled(quickstart.model_copy(update={"threshold": None}), lift)
    assert chosen.threshold_chosen
    assert f1_score(lift.labels, chosen.scores > chosen.threshold) == 1


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float32, 20, elements=st.integers(0, 8).map(lambda n: n / 8)), arrays(np.bool_, 20)
)
def test_no_threshold_has_a_better_f1(scores, labels):
    threshold = best_threshold(scores, labels)
    if not labels.any():
        assert not (scores > threshold).any()
        return
    best = max(f1_score(labels, scores > each) for each in np.arange(-1, 17) / 16)
    assert f1_score(labels, scores > threshold) == pytest.approx(best)


def test_a_frame_is_scored_alone_whatever_lies_beside_it(quickstart, lift):
    frames: LabelledFrames = lift.take(np.arange(40))
    forward = score_labelled(quickstart, frames, encoder="small").scores
    backward = score_labelled(quickstart, frames.take(np.arange(40)[::-1]), encoder="small").scores
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-5)


def test_a_calibration_is_for_one_clip(quickstart, lift):
    config = quickstart.model_copy(update={"encoder": "small", "threshold": None})
    frames = lift.take(np.arange(len(lift)) < 400)
    found = calibrate(config, lift, Target(false_positives=0.5))
    calibrated = config.model_copy(update={"calibration": found})
    assert score_labelled(calibrated, frames).threshold == found.threshold.value
    assert score_labelled(calibrated, frames, encoder="base").threshold_chosen
    copied = calibrated.model_copy(update={"goal_embedding": True, "hindsight": 2})
    assert score_labelled(copied, frames, encoder="base").threshold_chosen
    with pytest.raises(LabelError, match="calibrate again"):
        score_labelled(calibrated.model_copy(update={"encoder": "base"}), frames)
