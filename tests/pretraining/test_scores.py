"""Held-out scores against a recount through the served road: RewardModel and its softmax."""

import numpy as np
import pytest

from rllib_vlm_reward.envs.babyai.captions import TEMPLATES
from rllib_vlm_reward.envs.babyai.tiles import draw_tiles
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.pretraining.dataset import play
from rllib_vlm_reward.pretraining.scores import _score, score_families
from rllib_vlm_reward.pretraining.statements import FAMILIES, NAMES, truth
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

VIEWS = play(200, seed=5, held_out=True)


@pytest.mark.parametrize("family", ["find", "lift"])
def test_scores_are_those_that_the_reward_model_serves(family):
    encoder = CLIPEncoder.load("small", precision="fp32")
    model, frames = RewardModel(encoder), draw_tiles(VIEWS)
    held = truth(VIEWS)[family][:, 1:]
    fires, chances = [], []
    for article in ("a", "the"):
        texts = [TEMPLATES[family].goal.format(f"{article} {name}") for name in NAMES]
        scorer = Scorer(GoalSet.from_texts(texts, templates=[TEMPLATES[family]]), Softmax())
        each = [
            model.score(frames, np.full(len(frames), goal), scorer) for goal in range(len(NAMES))
        ]
        chances.append(np.stack(each, axis=1))
        fires.append(chances[-1] > 0.5)
    fires, held = np.stack(fires), np.stack([held, held])
    score = score_families(encoder, VIEWS)[family]
    assert score.frames == 200
    assert score.true == held.sum() > 10
    assert score.precision == pytest.approx((fires & held).sum() / fires.sum())
    assert score.recall == pytest.approx((fires & held).sum() / held.sum())
    assert score.false_per_1000 == pytest.approx(1000 * (fires & ~held).sum() / 400)
    assert score.true_p05 == pytest.approx(np.quantile(np.stack(chances)[held], 0.05), abs=1e-4)


def test_intervals_are_those_of_episodes():
    encoder = CLIPEncoder.load("small", precision="fp32")
    scores = score_families(encoder, VIEWS, repeats=40)
    for score in scores.values():
        for name, (low, high) in score.intervals.items():
            assert low <= getattr(score, name) <= high, name
    place = scores["place"].intervals["recall"]
    assert place[1] - place[0] > 0.05  # 10 episodes


def test_without_an_error_the_interval_is_no_point():
    held = np.zeros((2, 42, 3), bool)
    held[:, [0, 21], 0] = True
    score = _score(np.where(held, 0.9, 0.1).astype(np.float32), held, np.arange(42) // 3, 10)
    assert (score.precision, score.recall, score.false_per_1000) == (1.0, 1.0, 0.0)
    assert score.intervals["precision"] == (0.0, 1.0)  # two episodes say nothing
    assert score.intervals["false_per_1000"] == (0.0, pytest.approx(3000 / 84))


def test_frames_with_two_touching_pairs_are_left_out_of_place():
    pairs = truth(VIEWS)["place"][:, 1:].sum(axis=1) / 2  # either order
    score = score_families(CLIPEncoder.load("small", precision="fp32"), VIEWS)["place"]
    assert score.frames == (pairs <= 1).sum() < 200
    assert score.true == 2 * (pairs == 1).sum()
    assert len(FAMILIES["place"].objects) == 306
