"""Held-out scores against a recount through the served road: RewardModel and its softmax."""

import dataclasses

import numpy as np
import pytest

from rllib_vlm_reward.envs.babyai.captions import STATEMENTS, TEMPLATES
from rllib_vlm_reward.goals import GoalSet
from rllib_vlm_reward.pretraining.scores import _score, score_families
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.heads import Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer

NAMES = STATEMENTS.names


@pytest.mark.parametrize("family", ["find", "lift"])
def test_scores_are_those_that_the_reward_model_serves(few, family):
    encoder = CLIPEncoder.load("small", precision="fp32")
    model, frames = RewardModel(encoder), np.asarray(few.frames)
    columns = [few.families[family].about([name]).argmax() for name in NAMES]
    held = few.holds[family][:, columns]
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
    score = score_families(encoder, few)[family]
    assert score.frames == score.all_frames == 210
    assert score.true == held.sum() > 10
    assert score.precision == pytest.approx((fires & held).sum() / fires.sum())
    assert score.recall == pytest.approx((fires & held).sum() / held.sum())
    assert score.false_per_1000 == pytest.approx(1000 * (fires & ~held).sum() / 420)
    assert score.true_p05 == pytest.approx(np.quantile(np.stack(chances)[held], 0.05), abs=1e-4)


def test_intervals_are_those_of_episodes(few):
    encoder = CLIPEncoder.load("small", precision="fp32")
    scores = score_families(encoder, few, repeats=40)
    for score in scores.values():
        for name, (low, high) in score.intervals.items():
            assert low <= getattr(score, name) <= high, name
    place = scores["place"].intervals["recall"]
    assert place[1] - place[0] > 0.05  # 10 episodes


def test_without_an_error_the_interval_is_no_point():
    held = np.zeros((2, 42, 3), bool)
    held[:, [0, 21], 0] = True
    score = _score(
        np.where(held, 0.9, 0.1).astype(np.float32), held, np.arange(42) // 3, 10, all_frames=42
    )
    assert (score.precision, score.recall, score.false_per_1000) == (1.0, 1.0, 0.0)
    assert score.intervals["precision"] == (0.0, 1.0)  # two episodes say nothing
    assert score.intervals["false_per_1000"] == (0.0, pytest.approx(3000 / 84))


def test_frames_with_two_touching_pairs_are_left_out_of_place(few):
    goals = few.families["place"].goals
    pairs = few.holds["place"][:, goals].sum(axis=1)
    score = score_families(CLIPEncoder.load("small", precision="fp32"), few)["place"]
    assert score.frames == (pairs <= 1).sum() < score.all_frames == 210
    assert score.true == 2 * (pairs == 1).sum()
    assert goals.sum() == 153


def test_frames_of_which_a_statement_is_unclear_are_left_out(few):
    unclear = few.fails["find"].copy()
    unclear[:50, 3] = False
    changed = dataclasses.replace(few, fails={**few.fails, "find": unclear})
    encoder = CLIPEncoder.load("small", precision="fp32")
    out = (~(few.holds["find"] | unclear)).any(axis=1).sum()
    assert score_families(encoder, changed)["find"].frames == 210 - out < 210


def test_only_goals_about_some_things_are_scored(few):
    encoder = CLIPEncoder.load("small", precision="fp32")
    lift = few.families["lift"]
    true = few.holds["lift"][:, lift.goals & lift.about(["ball"])].sum()
    assert score_families(encoder, few, ["ball"])["lift"].true == 2 * true > 0
    assert score_families(encoder, few, ["unicorn"]) == {}
