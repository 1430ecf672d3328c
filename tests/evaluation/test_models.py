"""Each CLIP is loaded once, whatever the order of the rewards."""

import weakref

import numpy as np
import pytest
from PIL import Image

from rllib_vlm_reward.config import Target, VLMRewardConfig
from rllib_vlm_reward.errors import GoalError, RewardError
from rllib_vlm_reward.evaluation.calibrate import calibrate
from rllib_vlm_reward.evaluation.evaluate import evaluate
from rllib_vlm_reward.evaluation.images import encode
from rllib_vlm_reward.evaluation.labelled import LabelledFrames
from rllib_vlm_reward.evaluation.landscape import lines
from rllib_vlm_reward.evaluation.models import load_model, with_each_model
from rllib_vlm_reward.evaluation.score import score_images
from rllib_vlm_reward.reward_model import precision
from rllib_vlm_reward.warnings import warn_once

SMALL = VLMRewardConfig(encoder="small", goals=["the agent is carrying a red {ball|key}"])
BASE = SMALL.model_copy(update={"encoder": "base"})
EXACT = SMALL.model_copy(update={"serving": {"precision": "fp32"}})


def test_rewards_of_one_clip_and_precision_share_it(loads):
    rewards = {"a": SMALL, "b": BASE, "c": EXACT, "d": SMALL, "e": BASE}
    found = []
    models = with_each_model(
        rewards, lambda _, model: model, frames=4, device="cpu", report=found.append
    )
    assert sorted(found) == list(models) == [*"abcde"]
    assert models["a"] is models["d"]
    assert models["b"] is models["e"]
    assert len({*models.values()}) == len(loads) == 3
    assert models["c"].encoder.precision == "fp32"


def test_what_comes_next_is_reported_before_its_clip_is_loaded(loads):
    found = []
    names = with_each_model(
        {"a": SMALL, "b": SMALL},
        lambda name, _: name,
        frames=4,
        device="cpu",
        report=lambda name: found.append((name, len(loads))),
    )
    assert names == {"a": "a", "b": "b"}
    assert found == [("a", 0), ("b", 1)]


def test_one_is_freed_before_the_next_is_loaded():
    alive = []

    def look(_):  # without gc.collect(): a cycle would keep both CLIPs for a while
        assert all(model() is None for model in alive)

    with_each_model(
        {"a": SMALL, "b": BASE},
        lambda _, model: alive.append(weakref.ref(next(model.encoder.model.parameters()))),
        frames=4,
        device="cpu",
        report=look,
    )
    assert len(alive) == 2


def test_it_keeps_the_embeddings_of_all_frames(loads):
    frames = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    with_each_model(
        {"a": SMALL, "b": SMALL},
        lambda _, model: model.score(frames, np.zeros(6, int), SMALL.scorer),
        frames=6,
        device="cpu",
    )
    assert [encoded() for _, encoded in loads] == [6]


FRAMES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)


def labelled(goal):
    return LabelledFrames.of([*map(encode, FRAMES)], [goal] * 40, [True, False] * 20)


USES = {
    "evaluate": lambda goal, config, image: evaluate({"a": config}, labelled(goal)),
    "calibrate": lambda goal, config, image: calibrate(
        config, labelled(goal), Target(precision=0.1)
    ),
    "score": lambda goal, config, image: score_images(config, [image]),
    "landscape": lambda goal, config, image: lines({"a": SMALL, "b": config}, FRAMES, goal),
}


@pytest.mark.parametrize("use", ["evaluate", "calibrate"])
def test_a_named_precision_is_checked_on_the_labelled_frames(use, monkeypatch):
    bf16 = SMALL.model_copy(update={"serving": {"precision": "bf16"}})
    goal = SMALL.goal_set.texts[0]
    scorer, models = (
        SMALL.scorer,
        [load_model(each, frames=1, device="cpu") for each in (EXACT, bf16)],
    )
    scores = [
        np.stack([each.score(FRAMES, np.full(40, goal), scorer) for goal in (0, 1)])
        for each in models
    ]
    drift = np.abs(scores[0] - scores[1]).max(axis=0).mean()
    USES[use](goal, bf16, None)
    monkeypatch.setattr(precision, "TOLERANCE", drift * 0.9)
    says = rf"bf16 changes scores of Softmax.* by {drift:.3f} .*mean over 40 labelled frames"
    with pytest.raises(RewardError, match=says):
        USES[use](goal, bf16, None)


@pytest.mark.parametrize("use", USES)
def test_goals_are_checked_as_in_training_wherever_frames_are_scored(use, tmp_path, caplog):
    image, goal = tmp_path / "image.png", "the agent is carrying a red ball"
    Image.fromarray(FRAMES[0]).save(image)
    warn_once.cache_clear()
    strange = SMALL.model_copy(update={"goals": ["the agent is carrying a red {ball|square}"]})
    USES[use](goal, strange, image)
    (record,) = caplog.records
    assert "'small' was never taught the words ['square']" in record.getMessage()
    agents = SMALL.model_copy(update={"agents": {"left": {"threshold": 0.5}}})
    USES[use](goal, agents, image)
    assert "for ['left'], which are not measured here" in caplog.records[-1].getMessage()
    alike = SMALL.model_copy(update={"goals": [goal, goal.replace("ball", "Ball")]})
    with pytest.raises(GoalError, match="as the same tokens"):
        USES[use](goal, alike, image)
