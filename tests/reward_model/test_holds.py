"""Which goals hold in a frame, against scoring each goal alone."""

import dataclasses

import numpy as np
import pytest
import torch

from rllib_vlm_reward.goals import Goal, GoalSet, Template
from rllib_vlm_reward.reward_model.bank import TextBank
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Cosine, Dense, GoalBaseline, Head, Sigmoid, Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.readouts import Focal, Holds
from rllib_vlm_reward.reward_model.scorer import Scorer

DIM = 16


def unit(*shape, seed=0):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)


def texts(number):
    return [f"thing {place}" for place in range(number)]


@dataclasses.dataclass(frozen=True)
class Own(Softmax):
    """A head that does not say how it scores many goals."""

    each = Head.each

    def __call__(self, images, bank, goals):
        return super().__call__(images, bank, goals) ** 2


GOAL_SETS = {
    "18 others": GoalSet.from_texts(texts(18)),
    "5,000 others": GoalSet.from_texts(texts(5_000)),
    "1,000 with 32 drawn": GoalSet.from_texts(texts(1_000), num_negatives=32),
    "templates": GoalSet.from_texts(
        [*(f"lift {each}" for each in texts(5)), *(f"find {each}" for each in texts(40))],
        templates=[Template("lift {}", "holding {}", "empty hands"), Template("find {}", "at {}")],
    ),
    "by hand": GoalSet(
        (
            Goal("a", "prompt a", ("x", "y")),
            Goal("b", "prompt b", ("y", "x", "prompt a")),
            Goal("c", "prompt a", ("y", "x")),
            Goal("d", "x", ("prompt a", "y")),
            Goal("e", "prompt e", ("prompt a", "x", "y")),
            Goal("f", "prompt e", ("x", "y")),
        )
    ),
}


@pytest.mark.parametrize("goals", GOAL_SETS.values(), ids=GOAL_SETS)
@pytest.mark.parametrize(
    "head", [Softmax(), Softmax(0.5), Dense(), Cosine(), Sigmoid(), Own()], ids=repr
)
def test_all_goals_at_once_score_as_each_goal_alone(goals, head):
    bank = TextBank(goals, torch.from_numpy(unit(len(goals.statements), DIM)), 30.0, -4.0)
    images = torch.from_numpy(unit(6, DIM, seed=1))
    some = torch.arange(len(goals))[:: max(1, len(goals) // 50)].flip(0)
    found = head.each(images, bank, some)
    alone = [head(images, bank, torch.full((6,), int(goal))) for goal in some]
    np.testing.assert_allclose(found, torch.stack(alone, dim=1), rtol=0, atol=1e-6)
    assert found.std() > 0


def test_the_baseline_of_each_goal_counts():
    goals = GoalSet(tuple(Goal(f"{n}", f"prompt {n}", baseline=f"base {n}") for n in range(5)))
    bank = TextBank(goals, torch.from_numpy(unit(10, DIM)), 1.0)
    images, head = torch.from_numpy(unit(3, DIM, seed=1)), GoalBaseline(0.7)
    found = head.each(images, bank, torch.arange(5))
    alone = [head(images, bank, torch.full((3,), goal)) for goal in range(5)]
    np.testing.assert_allclose(found, torch.stack(alone, dim=1), rtol=0, atol=1e-6)


def expected(scores, candidates, threshold, most):
    """Return what holds in frames, one frame and one goal after the other."""
    answers = []
    for row in scores.tolist():
        found = sorted(zip(row, candidates, strict=True), reverse=True)[:most]
        pairs = [(goal, score) if score > threshold else (-1, 0.0) for score, goal in found]
        answers.append([number for pair in pairs for number in pair])
    return np.array(answers, np.float32)


@pytest.mark.parametrize("most", [1, 3, 7, 20])
def test_the_best_goals_above_the_threshold_are_named(most):
    scores = np.random.default_rng(0).random((50, 7)).astype(np.float32)
    candidates = (0, 2, 3, 11, 12, 40, 70_000)
    holds = Holds(candidates=candidates, threshold=0.9, most=most)
    found = holds(torch.from_numpy(scores), torch.zeros(50).long()).numpy()
    assert found.shape == (50, len(holds.names)) == (50, 2 * min(most, 7))
    np.testing.assert_array_equal(found, expected(scores, candidates, 0.9, most))
    assert {-1} < set(found[:, 0].tolist())
    assert holds.names[:2] == ("holds/0/goal", "holds/0/score")


def test_a_score_at_the_threshold_does_not_hold():
    holds = Holds(candidates=(4,), threshold=0.5, most=1)
    found = holds(torch.tensor([[0.5], [0.5000001]]), torch.tensor([0, 0]))
    assert found[:, 0].tolist() == [-1, 4]


GOALS = GoalSet.from_texts(texts(6), negatives=["nothing"])
HOLDS = Holds(candidates=(0, 1, 2, 4), threshold=0.14, most=3)


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return CLIPEncoder.load(tiny_clip, precision="fp32")


def frames_of(batch):
    return np.random.default_rng(0).integers(0, 256, (batch, 40, 60, 3), np.uint8)


def test_a_model_answers_for_all_goals_in_the_forward_pass_of_the_score(encoder):
    frames, goals = frames_of(5), np.array([0, 1, 5, 2, 0])
    model, scorer = RewardModel(encoder), Scorer(GOALS, Softmax(), readouts=(HOLDS,))
    assert not scorer.reads_patches
    answers = model.answer(frames, goals, scorer)
    assert model.counts()["frames_encoded"] == 5
    plain, alone = Scorer(GOALS, Softmax()), RewardModel(encoder)
    np.testing.assert_allclose(answers[:, 0], alone.score(frames, goals, plain), atol=1e-6)
    scores = [alone.score(frames, np.full(5, goal), plain) for goal in HOLDS.candidates]
    wanted = expected(np.stack(scores, axis=1), HOLDS.candidates, 0.14, 3)
    np.testing.assert_allclose(answers[:, scorer.columns_of("holds")], wanted, atol=1e-6)
    assert {-1} < set(wanted[:, ::2].flatten())  # some hold, and some do not
    # An embedding is in the cache whatever the goal is, other than an answer about patches.
    again = model.answer(frames[::-1], goals, scorer)
    assert model.counts()["frames_encoded"] == 5
    np.testing.assert_allclose(again[::-1, 1:], answers[:, 1:], atol=1e-6)
    assert model.answer(frames[:0], goals[:0], scorer).shape == (0, 7)


def test_it_stands_beside_readouts_of_patches(encoder):
    frames, goals = frames_of(3), np.array([0, 1, 2])
    focal = Focal(tuple(texts(6)), ("nothing",))
    both = Scorer(GOALS, Softmax(), readouts=(focal, HOLDS))
    answers = RewardModel(encoder).answer(frames, goals, both)
    for readout in (focal, HOLDS):
        one = Scorer(GOALS, Softmax(), readouts=(readout,))
        alone = RewardModel(encoder).answer(frames, goals, one)
        np.testing.assert_allclose(
            answers[:, both.columns_of(readout.kind)], alone[:, 1:], atol=1e-6
        )


def test_a_fingerprint_knows_goals_threshold_and_number():
    changes = [{}, {"threshold": 0.2}, {"most": 4}, {"candidates": (0, 1)}]
    readouts = [dataclasses.replace(HOLDS, **change) for change in changes]
    prints = {Scorer(GOALS, Softmax(), readouts=(each,)).fingerprint for each in readouts}
    assert len(prints) == 4
