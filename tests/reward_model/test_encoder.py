"""The seam of the encoder: a model of one's own, by its import path."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rllib_vlm_reward.errors import CheckpointError, ConfigError, GoalError, RewardError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import (
    Encoder,
    check_encoder,
    embed_dim,
    load_encoder,
)
from rllib_vlm_reward.reward_model.heads import Cosine
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

COLORS = {"red": 0, "green": 1, "blue": 2}


class MeanColor(Encoder):
    """Embeds a frame by the mean of its channels, and a text by the colour that it names."""

    embed_dim = 3
    fingerprint = "mean-color"

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def encode_frames(self, frames):
        return normalize(torch.from_numpy(frames).float().mean(dim=(1, 2)) + 1e-6, dim=1)

    def encode_texts(self, texts):
        rows = [COLORS[next(word for word in text.split() if word in COLORS)] for text in texts]
        return torch.eye(3)[rows]

    def check_texts(self, texts):
        for text in texts:
            if not COLORS.keys() & set(text.split()):
                raise GoalError(f"text {text!r}: it names no colour.")


class Named(MeanColor):
    """Has other weights by name, so that the cache must tell it from the other."""

    fingerprint = "twice"

    def encode_frames(self, frames):
        return super().encode_frames(frames).flip(1)


class TooWide(MeanColor):
    def encode_frames(self, frames):
        return super().encode_frames(frames).repeat(1, 2)


class NoNorm(MeanColor):
    def encode_frames(self, frames):
        return 2 * super().encode_frames(frames)


class Nameless(MeanColor):
    fingerprint = None


def path_of(encoder):
    return f"{__name__}.{encoder.__name__}"


GOALS = GoalSet.from_texts(["a red room", "a blue room"])
FRAMES = np.zeros((3, 4, 6, 3), np.uint8)
FRAMES[0, ..., 0], FRAMES[1, ..., 2], FRAMES[2] = 200, 90, 50


def test_an_encoder_of_ones_own_scores():
    model = RewardModel(load_encoder(path_of(MeanColor)))
    scorer = Scorer(GOALS, Cosine())
    scores = model.score([FRAMES[:1], FRAMES[1:]], np.array([0, 0, 1]), scorer)
    np.testing.assert_allclose(scores, [1, 0, 1 / np.sqrt(3)], atol=1e-4)
    assert model.precision(scorer) == "fp32"
    again = model.score(FRAMES, np.array([0, 0, 1]), scorer)
    np.testing.assert_array_equal(again, scores)
    assert model.counts()["frames_encoded"] == 3


def test_the_embeddings_of_one_tower_are_not_anothers():
    model, scorer = RewardModel(MeanColor()), Scorer(GOALS, Cosine())
    before = model.score(FRAMES[:1], np.array([0]), scorer)
    other = Scorer(GOALS, Cosine())
    model.encoder = Named()
    model._towers.clear()
    after = model.score(FRAMES[:1], np.array([0]), other)
    assert before[0] != after[0]


def test_it_is_checked_without_being_made():
    check_encoder(path_of(MeanColor))
    assert embed_dim(path_of(MeanColor)) == 3
    assert embed_dim("small") == 64


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("tests.nowhere.Encoder", ConfigError, "encoder: cannot import 'tests.nowhere.Encoder'"),
        ("math.tau", CheckpointError, "'math.tau': it is not an encoder, expected a class"),
        (path_of(Nameless), CheckpointError, "fingerprint is None, expected str"),
    ],
)
def test_what_is_no_encoder_is_refused(name, error, says):
    with pytest.raises(error, match=says):
        load_encoder(name)


def test_a_precision_is_open_clips_own_matter():
    with pytest.raises(CheckpointError, match="got precision 'bf16', expected auto"):
        load_encoder(path_of(MeanColor), precision="bf16")


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        (TooWide, r"returned the shape \[3, 6\] for 3 inputs, expected \[3, 3\]"),
        (NoNorm, "norms from 2 to 2"),
    ],
)
def test_embeddings_that_break_the_contract_are_an_error(encoder, says):
    with pytest.raises(RewardError, match=says):
        RewardModel(encoder()).score(FRAMES, np.array([0, 0, 0]), Scorer(GOALS, Cosine()))


def test_texts_are_checked_where_the_bank_is_made():
    model = RewardModel(MeanColor())
    goals = GoalSet.from_texts(["a red room", "a room"])
    with pytest.raises(GoalError, match="'a room': it names no colour"):
        model.score(FRAMES, np.array([0, 0, 0]), Scorer(goals, Cosine()))


def test_a_text_longer_than_the_context_is_refused(tiny_clip):
    encoder = CLIPEncoder.load(tiny_clip)
    fits = " ".join(["ball"] * (encoder.context_length - 2))  # beside start and end
    encoder.check_texts([fits, ""])
    with pytest.raises(GoalError, match=f"it has {encoder.context_length + 1} tokens, but"):
        encoder.check_texts(["a ball", f"{fits} ball"])
    assert not torch.equal(*encoder.tokenize([fits, fits.replace("ball", "key", 1)]))
