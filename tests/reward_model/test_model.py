import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import FrameError, GoalError, RewardError
from rllib_vlm_reward.goals import Goal, GoalSet
from rllib_vlm_reward.reward_model.encoder import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Cosine, Dense, GoalBaseline, Sigmoid, Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer, pay

GOALS = GoalSet.from_texts(["a red ball", "a blue key", "a green box"], baseline="a room")


@pytest.fixture(scope="module")
def model(tiny_clip):
    return RewardModel(CLIPEncoder.load(tiny_clip))


def frames_of(batch, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 40, 60, 3), np.uint8)


@dataclasses.dataclass(frozen=True)
class Broken:
    """A head that fails on its second frame."""

    value: float

    def __call__(self, images, bank, goals):
        scores = torch.zeros(len(images))
        scores[1:2] = self.value
        return scores


# --- Scorer


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({}, Softmax()),
        ({"temperature": 0.02}, Softmax(0.02)),
        ({"head": "dense", "temperature": 0.02}, Dense(0.02)),
        ({"head": "cosine"}, Cosine()),
        ({"head": "goal_baseline", "alpha": 0.25, "baseline": "a room"}, GoalBaseline(0.25)),
        ({"head": "sigmoid"}, Sigmoid()),
    ],
)
def test_a_scorer_is_what_the_configuration_says(settings, head):
    config = VLMRewardConfig(encoder="small", goals=["a {red|blue} ball"], **settings)
    assert Scorer.from_config(config) == Scorer(config.goal_set, head)


def test_the_fingerprint_tells_goals_and_heads_apart():
    other = GoalSet.from_texts(["a red ball", "a blue key"])
    heads = [Softmax(), Softmax(0.1), Dense(), Dense(0.1), Cosine(), GoalBaseline(0.1), Sigmoid()]
    scorers = [Scorer(goals, head) for goals in (GOALS, other) for head in heads]
    assert len({scorer.fingerprint for scorer in scorers}) == len(scorers)


def test_the_fingerprint_is_the_same_in_another_process():
    scorer = Scorer(GOALS, Softmax(0.1))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).fingerprint)"
    found = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(scorer), capture_output=True, check=True
    )
    assert found.stdout.decode().strip() == scorer.fingerprint


@pytest.mark.parametrize("head", [lambda images, bank, goals: images[:, 0], Softmax])
def test_a_head_whose_fingerprint_would_drift_is_refused(head):
    with pytest.raises(RewardError, match="frozen dataclass"):
        Scorer(GOALS, head)


# --- Scores


@pytest.mark.parametrize("head", [Softmax(), Dense(0.5), Cosine(), GoalBaseline(0.5)])
def test_scores_are_the_heads_of_the_embeddings(model, head):
    frames, goals = frames_of(7), np.array([0, 2, 1, 1, 0, 2, 2])
    scores = model.score(frames, goals, Scorer(GOALS, head))
    assert (scores.dtype, scores.shape) == (np.float32, (7,))

    images = model.encoder.encode_images(frames).double().numpy()
    texts = model.embed_texts([*GOALS.texts, "a room"]).astype(np.float64)
    g, b = texts[goals], texts[3]
    cosines = images @ texts[:3].T
    chosen = cosines[np.arange(7), goals]

    def softmax(temperature):
        odds = np.exp(cosines / temperature)
        return odds[np.arange(7), goals] / odds.sum(axis=1)

    if isinstance(head, Softmax):
        expected = softmax(1 / model.encoder.logit_scale)
    elif isinstance(head, Dense):
        expected = np.maximum(softmax(0.5) - 1 / 3, 0)
    elif isinstance(head, Cosine):
        expected = chosen
    else:
        d = g - b
        on_line = b + ((images - b) * d).sum(1, keepdims=True) / (d * d).sum(1, keepdims=True) * d
        expected = 1 - ((0.5 * on_line + 0.5 * images - g) ** 2).sum(1) / 2
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=6), st.integers(0, 100))
def test_a_score_does_not_depend_on_the_batch(model, goals, seed):
    frames, scorer = frames_of(len(goals), seed), Scorer(GOALS, Softmax())
    together = model.score(frames, np.array(goals, np.int64), scorer)
    alone = [model.score(frames[i : i + 1], np.array([g]), scorer) for i, g in enumerate(goals)]
    np.testing.assert_allclose(together, [score[0] for score in alone], atol=1e-5)


def test_texts_are_encoded_once_for_all_heads(model, monkeypatch):
    goals, read = GoalSet.from_texts(["an axe", "a bow"]), []
    encode = model.encoder.encode_texts

    def counted(texts):
        read.append(tuple(texts))
        return encode(texts)

    monkeypatch.setattr(model.encoder, "encode_texts", counted)
    for head in (Softmax(), Softmax(0.1), Cosine()):
        model.score(frames_of(2), np.array([0, 1]), Scorer(goals, head))
    assert read == [("an axe", "a bow")]


def test_few_goal_sets_are_kept(tiny_clip):
    model = RewardModel(CLIPEncoder.load(tiny_clip))
    sets = [GoalSet.from_texts([f"goal {i}", "other"]) for i in range(70)]
    first = [model.score(frames_of(1), np.array([0]), Scorer(goals, Cosine())) for goals in sets]
    assert len(model._banks) <= 64
    again = [model.score(frames_of(1), np.array([0]), Scorer(goals, Cosine())) for goals in sets]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("goals", "said"),
    [
        (np.array([0, 3]), r"indices 0 to 3, expected 0 to 2"),
        (np.array([-1, 0]), r"indices -1 to 0, expected 0 to 2"),
        (np.array([0]), r"int64 \[1\], expected an integer array \[2\]"),
        (np.array([[0], [1]]), r"int64 \[2, 1\]"),
        (np.array([0.0, 1.0]), r"float64 \[2\].*GoalSet\.index"),
        (np.array([True, False]), r"bool \[2\]"),
        ([0, 1], "got .*list"),
    ],
)
def test_goal_indices_are_checked(model, goals, said):
    with pytest.raises(GoalError, match=said):
        model.score(frames_of(2), goals, Scorer(GOALS, Softmax()))


def test_indices_of_any_integer_type(model):
    scorer = Scorer(GOALS, Softmax())
    expected = model.score(frames_of(3), np.array([0, 1, 2]), scorer)
    for dtype in (np.int8, np.uint16, np.int32, np.uint64):
        scores = model.score(frames_of(3), np.array([0, 1, 2], dtype), scorer)
        np.testing.assert_array_equal(scores, expected)


def test_frames_are_checked(model):
    with pytest.raises(FrameError):
        model.score(np.zeros((2, 8, 8, 3)), np.array([0, 0]), Scorer(GOALS, Softmax()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_an_error(model, value):
    with pytest.raises(RewardError, match=r"1 of 3 scores.*frame 1, goal 'a blue key' got"):
        model.score(frames_of(3), np.array([0, 1, 2]), Scorer(GOALS, Broken(value)))


def test_a_goal_that_reads_as_its_baseline_is_an_error(model):
    goals = GoalSet((Goal("ball", "a ball", baseline="A  BALL"),))  # the same tokens
    with pytest.raises(RewardError, match="from its baseline"):
        model.score(frames_of(1), np.array([0]), Scorer(goals, GoalBaseline(0.5)))


def test_embedded_texts(model):
    embeddings = model.embed_texts(["a ball", "a key"])
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (2, 16))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


# --- Pay


@given(st.lists(st.floats(0, 1, width=32)), st.floats(0, 1, width=32))
def test_pay_is_equation_2(scores, threshold):
    rewards = pay(np.array(scores, np.float32), threshold)
    assert rewards.dtype == np.float32
    assert rewards.tolist() == [1.0 if score > threshold else 0.0 for score in scores]


@given(st.lists(st.floats(-1, 1, width=32)))
def test_pay_without_a_threshold_pays_the_scores(scores):
    assert pay(np.array(scores, np.float32), None).tolist() == scores
