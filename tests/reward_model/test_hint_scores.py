"""The scores of a goal's hints, against scoring each statement as a goal of its own."""

import numpy as np
import pytest
import torch

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.readouts import HintScores

HINTS = {
    "goals": {
        "lift the {}": ["at the {0}", {"statement": "hand open", "nothing": "hand closed"}],
        "bring the {} to the {}": ["at the {0}", "holding the {0}", "at the {1}"],
    },
    "weight": 1.0,
    "threshold": 0.2,
}


@pytest.mark.parametrize("head", ["softmax", "dense", "cosine", "goal_baseline"])
def test_they_are_those_of_goals_with_these_prompts(head, tiny_clip):
    given = {
        "encoder": tiny_clip,
        "goals": ["lift the {ball|key}", "bring the ball to the {key|box}", "wait"],
        "evaluation_goals": ["lift the cup"],
        "negatives": ["a dark room"],
        "baseline": "a room",
        "head": head,
    }
    config = VLMRewardConfig(**given, hints=HINTS)
    frames = np.random.default_rng(0).integers(0, 256, (12, 40, 60, 3), np.uint8)
    goals = np.arange(12, dtype=np.int64) % 6
    model = RewardModel(CLIPEncoder.load(tiny_clip, precision="fp32"))
    answers = model.answer(frames, goals, config.rater)
    assert model.counts()["frames_encoded"] == 12
    plain = VLMRewardConfig(**given)
    np.testing.assert_allclose(
        answers[:, 0], model.score(frames, goals, plain.scorer), rtol=0, atol=1e-6
    )
    things = ["at the ball", "at the key", "at the box"]
    held = {"holding the ball": []}
    wanted = {
        0: [("at the ball", things), ("hand open", ["hand closed"])],
        1: [("at the key", things), ("hand open", ["hand closed"])],
        2: [("at the ball", things), ("holding the ball", held), ("at the key", things)],
        3: [("at the ball", things), ("holding the ball", held), ("at the box", things)],
    }
    expected = np.zeros((12, 3), np.float32)
    for row, goal in enumerate(goals.tolist()):
        for place, (text, others) in enumerate(wanted.get(goal, [])):
            negatives = [each for each in [*others, "a dark room"] if each != text]
            changes = {"goals": [{"text": text, "prompt": text, "negatives": negatives}]}
            alone = VLMRewardConfig(**{**given, "negatives": [], "evaluation_goals": [], **changes})
            frame = frames[row : row + 1]
            expected[row, place] = model.score(frame, np.zeros(1, np.int64), alone.scorer)[0]
    np.testing.assert_allclose(answers[:, 1:], expected, rtol=0, atol=1e-6)
    assert expected.std(axis=0).min() > 0 or head == "dense"


def test_a_goal_without_hints_has_zeros():
    readout = HintScores(candidates=(3, 4), of_goals=((), (1,), (0, 1), (), ()))
    scores = torch.tensor([[-0.5, 0.25]]).repeat(4, 1)
    found = readout(scores, torch.tensor([0, 1, 2, 4]))
    assert found.tolist() == [[0, 0], [0.25, 0], [-0.5, 0.25], [0, 0]]
