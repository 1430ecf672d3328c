import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_vlm_reward.errors import RewardError
from rllib_vlm_reward.goals import Goal, GoalSet
from rllib_vlm_reward.reward_model.bank import TextBank

RAGGED = GoalSet(
    (
        Goal("ball", "a ball", ("a key", "a box", "nothing"), baseline="nothing"),
        Goal("key", "a key", (), baseline="a room"),
        Goal("box", "a box", ("a ball",), baseline="nothing"),
    )
)


def unit(rows, columns, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def bank_of(goals, dim=8):
    embeddings = unit(len(goals.statements), dim)
    by_text = dict(zip(goals.statements, embeddings, strict=True))
    return TextBank(goals, torch.from_numpy(embeddings), logit_scale=10.0), by_text


def test_goals_and_baselines_are_looked_up():
    bank, by_text = bank_of(RAGGED)
    goals = torch.tensor([2, 0, 0, 1])
    prompts = [by_text[text] for text in ("a box", "a ball", "a ball", "a key")]
    baselines = [by_text[text] for text in ("nothing", "nothing", "nothing", "a room")]
    np.testing.assert_array_equal(bank.goal(goals), prompts)
    np.testing.assert_array_equal(bank.baseline(goals), baselines)
    assert bank.num_statements(goals).tolist() == [2, 4, 4, 1]


def test_a_missing_baseline_is_an_error():
    goals = GoalSet((RAGGED[0], Goal("door", "an open door")))
    with pytest.raises(RewardError, match=r"no baseline.*Set `baseline`"):
        bank_of(goals)[0].baseline(torch.tensor([0]))


def test_a_set_without_negatives():
    bank, by_text = bank_of(GoalSet((Goal("ball", "a ball"),)))
    goal, negatives, mask = bank.similarities(torch.from_numpy(unit(2, 8)), torch.tensor([0, 0]))
    np.testing.assert_allclose(goal, unit(2, 8) @ by_text["a ball"], atol=1e-6)
    assert negatives.shape == mask.shape == (2, 0)


def assert_similarities(bank, by_text, goal_set, images, indices):
    goal, negatives, mask = bank.similarities(torch.from_numpy(images), torch.tensor(indices))
    for row, index in enumerate(indices):
        texts = goal_set[index].negatives
        assert mask[row].tolist() == [True] * len(texts) + [False] * (mask.shape[1] - len(texts))
        expected = [by_text[text] @ images[row] for text in texts]
        np.testing.assert_allclose(negatives[row][mask[row]], expected, atol=1e-6)
        prompt = by_text[goal_set[index].prompt]
        np.testing.assert_allclose(goal[row], prompt @ images[row], atol=1e-6)


@st.composite
def goal_sets(draw):
    prompts = [f"goal {i}" for i in range(draw(st.integers(1, 6)))]
    pool = [*prompts, "nothing", "a room"]
    return GoalSet(
        tuple(
            Goal(prompt, prompt, tuple(draw(st.sets(st.sampled_from(others), max_size=5))))
            for prompt in prompts
            for others in [[text for text in pool if text != prompt]]
        )
    )


@settings(max_examples=60, deadline=None)
@given(goal_sets(), st.data())
def test_similarities_with_ragged_negatives(goal_set, data):
    bank, by_text = bank_of(goal_set)
    indices = data.draw(st.lists(st.integers(0, len(goal_set) - 1), min_size=1, max_size=7))
    assert_similarities(bank, by_text, goal_set, unit(len(indices), 8, seed=1), indices)


def test_ten_thousand_goals():
    rng = np.random.default_rng(0)
    prompts = [f"a thing of kind {i}" for i in range(10_000)]
    goal_set = GoalSet(
        tuple(
            Goal(prompt, prompt, tuple(prompts[i - j] for j in range(1, 1 + rng.integers(0, 9))))
            for i, prompt in enumerate(prompts)
        )
    )
    bank, by_text = bank_of(goal_set, dim=512)
    indices = rng.integers(0, 10_000, 256).tolist()
    images = unit(256, 512, seed=1)
    assert_similarities(bank, by_text, goal_set, images, indices)


@pytest.mark.parametrize("others", [3, 400])  # one product with all; one for each frame
def test_the_cheaper_product_gives_the_same(others, monkeypatch):
    texts = [f"goal {i}" for i in range(others)]
    few = [Goal(text, text, tuple(t for t in texts[:3] if t != text)) for text in texts]
    goal_set = GoalSet(tuple(few))
    bank, by_text = bank_of(goal_set)
    indices = [0, 2, 2, 1, others - 1]
    for cost in (0, 10**9):
        monkeypatch.setattr("rllib_vlm_reward.reward_model.bank._GATHER_COST", cost)
        assert_similarities(bank, by_text, goal_set, unit(5, 8, seed=1), indices)


def test_a_batch_is_as_wide_as_its_own_goals():
    many = tuple(f"text {i}" for i in range(500))
    goals = GoalSet((Goal("wide", "wide", many), Goal("narrow", "narrow", many[:2])))
    bank, _ = bank_of(goals)
    images = torch.from_numpy(unit(3, 8))
    assert bank.similarities(images, torch.tensor([1, 1, 1]))[1].shape == (3, 2)
    assert bank.similarities(images, torch.tensor([1, 0, 1]))[1].shape == (3, 500)
    assert bank.similarities(images[:0], torch.tensor([], dtype=torch.int64))[1].shape == (0, 0)


def test_nothing_is_padded_to_the_longest_goal():
    texts = [f"goal {i}" for i in range(3_000)]
    ragged = (Goal("wide", "wide", tuple(texts)), *(Goal(text, text) for text in texts))
    bank, _ = bank_of(GoalSet(ragged))
    assert sum(t.numel() for t in vars(bank).values() if isinstance(t, torch.Tensor)) < 50_000


@pytest.mark.parametrize("num_negatives", [None, 3])
def test_a_set_that_grew_scores_as_its_goals_alone_would(num_negatives):
    keys = {"negatives": ["nothing"], "num_negatives": num_negatives}
    few = GoalSet.from_texts([f"thing {n}" for n in range(6)], **keys)
    many = few.grow(["thing 6"], **keys).grow(["thing 7", "thing 8"], **keys)
    bank, by_text = bank_of(many)
    images, indices = unit(9, 8, seed=1), list(range(9))
    assert_similarities(bank, by_text, many, images, indices)
    each = bank.softmax(torch.from_numpy(images), torch.arange(9), 10.0)
    for index, goal in enumerate(many.goals):
        texts = (goal.prompt, *goal.negatives)
        logits = 10.0 * images @ np.stack([by_text[text] for text in texts]).T
        expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
        np.testing.assert_allclose(each[:, index], expected, atol=1e-5)
    # The rows of the old goals are those of a bank of the old goals.
    known = np.stack([by_text[text] for text in few.statements])
    old = TextBank(few, torch.from_numpy(known), logit_scale=10.0)
    before = old.similarities(torch.from_numpy(images[:6]), torch.arange(6))
    after = bank.similarities(torch.from_numpy(images[:6]), torch.arange(6))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
