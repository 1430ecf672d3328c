"""Readouts beside the score, computed here once more, the other way."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from rllib_vlm_reward.errors import GoalError, RewardError
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import Encoder
from rllib_vlm_reward.reward_model.heads import Cosine, Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.readouts import Focal, GoalMap
from rllib_vlm_reward.reward_model.scorer import Scorer

GOALS = GoalSet.from_texts(["lift a ball", "lift a key", "lift a box"])
NOUNS = ("a ball", "a key", "a box")
WORDS = ("nothing", "a wall")
# The noun of the third goal is among nobody else's words.
OTHERS = (*NOUNS[:2], *WORDS)


def unit(*shape, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)


def by_hand(patches, texts, noun, others, scale, *, centre=(0.5, 0.5), argmax=False, binary=None):
    """COPL's intrinsic reward of one frame, [h, w, D], patch by patch."""
    height, width = patches.shape[:2]
    words = [noun, *(word for word in others if word != noun)]
    total, highest = 0.0, 0.0
    for row in range(height):
        for column in range(width):
            logits = [scale * float(patches[row, column] @ texts[word]) for word in words]
            powers = [np.exp(logit - max(logits)) for logit in logits]
            p = powers[0] / sum(powers)
            if argmax and logits[0] < max(logits):
                p = 0.0
            if binary is not None:
                p = 1.0 if p > binary else 0.0
            mu_x, mu_y, sigma_x, sigma_y = *centre, width / 3, height / 3
            dx, dy = column + 0.5 - mu_x * width, row + 0.5 - mu_y * height
            near = np.exp(-(dx**2 / (2 * sigma_x**2) + dy**2 / (2 * sigma_y**2)))
            highest = max(highest, near)
            total += p * near
    return total / highest / (height * width)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"centre": (0.5, 0.93)},
        {"argmax": True},
        {"binary": 0.4},
        {"argmax": True, "binary": 0.4, "centre": (0.1, 0.7)},
    ],
    ids=str,
)
def test_focal_is_copls(options):
    patches = unit(6, 3, 4, 8)
    texts = dict(zip((*OTHERS, "a box"), unit(5, 8, seed=1), strict=True))
    focal = Focal(NOUNS, OTHERS, **options)
    goals = [0, 1, 2, 2, 1, 0]
    found = focal(
        torch.from_numpy(patches),
        torch.from_numpy(np.stack([texts[text] for text in focal.texts])),
        torch.tensor(goals),
        3.0,
    )
    expected = [
        by_hand(frame, texts, NOUNS[goal], OTHERS, 3.0, **options)
        for frame, goal in zip(patches, goals, strict=True)
    ]
    assert found.shape == (6, 1)
    assert found[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert len(set(found[:, 0].tolist())) == 6


def softmax_by_hand(patches, texts, noun, others, scale):
    """p of each patch of one frame, [h, w, D], in rows from the top."""
    words = [noun, *(word for word in others if word != noun)]
    found = []
    for patch in patches.reshape(-1, patches.shape[-1]):
        powers = [np.exp(scale * float(patch @ texts[word])) for word in words]
        found.append(powers[0] / sum(powers))
    return found


def test_a_map_is_the_softmax_of_each_patch():
    patches = unit(4, 3, 4, 8)
    texts = dict(zip((*OTHERS, "a box"), unit(5, 8, seed=1), strict=True))
    readout, goals = GoalMap(NOUNS, OTHERS, size=(3, 4)), [0, 2, 1, 2]
    assert readout.names == tuple(f"map/{number}" for number in range(12))
    stacked = torch.from_numpy(np.stack([texts[text] for text in readout.texts]))
    found = readout(torch.from_numpy(patches), stacked, torch.tensor(goals), 3.0)
    expected = [
        softmax_by_hand(frame, texts, NOUNS[goal], OTHERS, 3.0)
        for frame, goal in zip(patches, goals, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    with pytest.raises(RewardError, match=r"4 × 3, but .* 3 × 4 patches\. Set goal_map: \[3"):
        GoalMap(NOUNS, OTHERS, size=(4, 3))(
            torch.from_numpy(patches), stacked, torch.tensor(goals), 3.0
        )


def test_an_unknown_centre_says_what_to_set():
    focal = Focal(NOUNS, OTHERS, centre=None)
    with pytest.raises(RewardError, match=r"no env that says where its agent is\. Set centre"):
        focal(torch.zeros(1, 2, 2, 4), torch.zeros(5, 4), torch.tensor([0]), 1.0)


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return CLIPEncoder.load(tiny_clip, precision="fp32")


def frames_of(batch, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 40, 60, 3), np.uint8)


def scorer(**options):
    return Scorer(GOALS, Softmax(), readouts=(Focal(NOUNS, OTHERS, **options),))


def test_a_model_answers_with_the_score_and_the_readouts(encoder):
    frames, goals = frames_of(5), np.array([0, 1, 2, 2, 0])
    model, both = RewardModel(encoder), scorer(centre=(0.5, 0.9))
    answers = model.answer(frames, goals, both)
    assert answers.shape == (5, both.columns) == (5, 2)
    plain = Scorer(GOALS, Softmax())
    np.testing.assert_allclose(answers[:, 0], model.score(frames, goals, plain), atol=1e-6)
    _, patches = encoder.tower.with_patches(frames)
    texts = dict(zip(both.words, model.embed_texts(both.words), strict=True))
    expected = [
        by_hand(frame.numpy(), texts, NOUNS[goal], OTHERS, encoder.logit_scale, centre=(0.5, 0.9))
        for frame, goal in zip(patches, goals, strict=True)
    ]
    assert answers[:, 1].tolist() == pytest.approx(expected, abs=1e-5)


def test_two_readouts_are_read_in_one_forward_pass(encoder):
    frames, goals = frames_of(5), np.array([0, 1, 2, 2, 0])
    focal, find = Focal(NOUNS, OTHERS), GoalMap(NOUNS, OTHERS, size=(7, 7))
    both = Scorer(GOALS, Softmax(), readouts=(focal, find))
    assert both.names == ("score", "focal", *find.names)
    assert (both.columns_of("focal"), both.columns_of("map")) == (slice(1, 2), slice(2, 51))
    model = RewardModel(encoder)
    answers = model.answer(frames, goals, both)
    assert model.counts()["frames_encoded"] == 5
    for readout in (focal, find):
        alone = RewardModel(encoder).answer(
            frames, goals, Scorer(GOALS, Softmax(), readouts=(readout,))
        )
        np.testing.assert_allclose(
            answers[:, both.columns_of(readout.kind)], alone[:, 1:], atol=1e-6
        )


def test_without_readouts_an_answer_is_the_score(encoder):
    frames, goals, plain = frames_of(3), np.array([0, 1, 2]), Scorer(GOALS, Softmax())
    model = RewardModel(encoder)
    assert np.array_equal(model.answer(frames, goals, plain), model.score(frames, goals, plain))
    assert plain.columns == 1
    assert plain.words == ()


def test_answers_are_cached_by_frame_and_goal(encoder):
    model, frames = RewardModel(encoder), frames_of(2)[[0, 1, 0, 0]]
    goals = np.array([0, 1, 0, 2])
    first = model.answer(frames, goals, scorer())
    assert model.counts()["frames_encoded"] == 3
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(model.answer(frames, goals, scorer()), first)
    assert model.counts()["frames_encoded"] == 3
    other = model.answer(frames, goals, scorer(argmax=True))
    assert model.counts()["frames_encoded"] == 6
    assert np.array_equal(other[:, 0], first[:, 0])
    uncached = RewardModel(encoder, cache_frames=0).answer(frames, goals, scorer())
    np.testing.assert_allclose(uncached, first, atol=1e-6)
    assert model.answer(frames[:0], goals[:0], scorer()).shape == (0, 2)


def test_the_embeddings_of_words_can_come_from_another_process(encoder):
    both = scorer()
    texts = (*GOALS.statements, *both.words)
    sender, receiver = RewardModel(encoder), RewardModel(encoder)
    receiver.admit(GOALS, sender.embed_texts(texts), both.words)
    frames, goals = frames_of(3), np.array([0, 1, 2])
    found = receiver.answer(frames, goals, both)
    assert receiver.counts()["texts_encoded"] == 0
    np.testing.assert_allclose(found, sender.answer(frames, goals, both), atol=1e-6)
    with pytest.raises(RewardError, match=r"expected float32 \[3, 16\]"):
        receiver.admit(GOALS, sender.embed_texts(texts))


def test_words_that_the_model_reads_alike_are_refused():
    scorer = Scorer(GOALS, Softmax(), readouts=(Focal(NOUNS, ("A  Ball",)),))
    model = RewardModel(CLIPEncoder.load("small", precision="fp32"))
    frame = np.zeros((1, 56, 56, 3), np.uint8)
    with pytest.raises(GoalError, match="reads 'A  Ball' and 'a ball' as the same tokens"):
        model.answer(frame, np.array([0]), scorer)


def test_a_fingerprint_knows_the_readouts():
    plain = Scorer(GOALS, Softmax())
    prints = {each.fingerprint for each in (plain, scorer(), scorer(argmax=True))}
    assert len(prints) == 3
    assert scorer().fingerprint == scorer(argmax=False).fingerprint
    # That of a scorer without readouts is what it was before there were any.
    before = plain.goals.fingerprint + " " + plain.head.digest()
    assert plain.fingerprint == hashlib.sha256(before.encode()).hexdigest()


class Plain(Encoder):
    """An encoder of one's own."""

    embed_dim, fingerprint = 4, "ab"

    def encode_frames(self, frames):
        return torch.eye(4)[[0] * len(frames)]

    def encode_texts(self, texts):
        return torch.eye(4)[[len(text) % 4 for text in texts]]


def test_an_encoder_without_patches_is_an_error_that_names_it():
    with pytest.raises(RewardError, match=r"encoder 'Plain', which has no patch .* Choose one"):
        RewardModel(Plain()).answer(frames_of(1), np.array([0]), scorer())


@dataclasses.dataclass(frozen=True)
class Wide(Cosine):
    """A head that answers with a number too many."""

    def __call__(self, images, bank, goals):
        return super().__call__(images, bank, goals)[:, None]


def test_a_head_of_another_shape_is_named(encoder):
    wide = Scorer(GOALS, Wide(), readouts=scorer().readouts)
    with pytest.raises(RewardError, match=r"head Wide: it returned scores \[2, 1\] for 2 frames"):
        RewardModel(encoder).answer(frames_of(2), np.array([0, 1]), wide)


def test_a_readout_that_is_not_finite_is_named(encoder, monkeypatch):
    monkeypatch.setattr(encoder, "logit_scale", float("inf"))
    cosine = Scorer(GOALS, Cosine(), readouts=scorer().readouts)
    with pytest.raises(RewardError, match="readout 'focal': got a number that is not finite"):
        RewardModel(encoder).answer(frames_of(2), np.array([0, 1]), cosine)
