"""Each CLIP is loaded once, whatever the order of the rewards."""

import weakref

import numpy as np

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.evaluation.models import with_each_model

SMALL = VLMRewardConfig(encoder="small", goals=["a {ball|key}"])
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
