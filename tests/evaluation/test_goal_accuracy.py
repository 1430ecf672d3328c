"""Which goal's prompt scores highest, recounted from the embeddings."""

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.goal_accuracy import goal_accuracy, rivals, score_rivals
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.scored_frames import indices_of
from rllib_vlm_reward.goals import Goal, GoalSet
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel

RNG = np.random.default_rng(0)


def measured(model, config, frames, goals):
    scored = score_rivals(model, config.scorer, frames, goals)
    return goal_accuracy(scored, config.goal_set.texts, len(frames))


def test_hits_are_those_of_the_highest_cosine():
    config = VLMRewardConfig(encoder="small", goals=["a {ball|key|box}"], head="cosine")
    pixels = RNG.integers(0, 256, (30, 56, 56, 3), np.uint8)
    goals = [config.goal_set.texts[row % 3] for row in range(30)]
    labels = RNG.random(30) < 0.6
    frames = LabelledFrames.of(map(encode, pixels), goals, labels)
    model = RewardModel(CLIPEncoder.load("small"))
    indices = indices_of(frames, config.goal_set)
    accuracy = measured(model, config, frames, indices)
    texts = model.encoder.encode_texts(config.goal_set.texts)
    cosines = (model.encoder.encode_frames(pixels) @ texts.T).numpy()
    expected = np.where(labels, cosines.argmax(1) == indices, np.nan)
    np.testing.assert_array_equal(accuracy.hits, expected)
    np.testing.assert_allclose(accuracy.chance, np.where(labels, 1 / 3, np.nan))
    for goal in range(3):
        best = cosines[labels & (indices == goal)].mean(0).argmax()
        assert accuracy.taken_for[config.goal_set[goal].text] == config.goal_set[best].text


def test_equal_scores_share_the_hit(changed_clip):
    from wrong_rewards import blind

    config = VLMRewardConfig(encoder="small", goals=["a {ball|key}"], head="cosine")
    frames = LabelledFrames.of([encode(np.zeros((8, 8, 3), np.uint8))], ["a key"], [True])
    model = RewardModel(CLIPEncoder.load(changed_clip("small", blind("small"))))
    accuracy = measured(model, config, frames, np.array([1]))
    assert accuracy.hits.tolist() == [0.5]


def test_rivals_are_of_the_family_and_differ_in_what_clip_reads():
    goals = GoalSet(
        (
            Goal("lift a ball", "carrying a ball", family="lift"),
            Goal("take a ball", "carrying a ball", family="lift"),
            Goal("lift a key", "carrying a key", family="lift"),
            Goal("lift a box", "carrying a box", family="lift"),
            Goal("find a ball", "facing a ball", family="find"),
        )
    )
    found = rivals(goals, [1, 3, 4])
    assert found == {1: [1, 3, 2], 3: [3, 1, 2], 4: [4]}
    assert rivals(goals, [1, 3], most=2) == {1: [1, 3], 3: [3, 1]}


def test_a_single_goal_has_no_goal_accuracy():
    config = VLMRewardConfig(encoder="small", goals=["a ball"], head="cosine")
    frames = LabelledFrames.of([encode(np.zeros((8, 8, 3), np.uint8))], ["a ball"], [True])
    model = RewardModel(CLIPEncoder.load("small"))
    accuracy = measured(model, config, frames, np.array([0]))
    assert np.isnan(accuracy.hits).all()
    assert accuracy.taken_for == {}
    assert accuracy.mistaken == {}
